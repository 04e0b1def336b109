"""Determines the queues that a worker serves, from the setting `OFTEN_WORKER_QUEUES`."""

from collections.abc import Iterable, Mapping
from typing import Any

from services.worker.registry import TaskFunction
from shared.contracts.catalogue import Catalogue
from shared.contracts.contract import Contract
from shared.errors import SettingsError

VARIABLE = "OFTEN_WORKER_QUEUES"


def queue_names(chosen: str, tasks: Mapping[str, TaskFunction[Any, Any]]) -> tuple[str, ...]:
    """Return the queues to serve.

    They are the queues that the setting names, or all except those with a minus before their name,
    or all if it is empty. Raises SettingsError for a queue that no contract uses, or if no queue is
    left.
    """
    contracts = list({id(task.contract): task.contract for task in tasks.values()}.values())
    known = Catalogue(contracts).queues
    given = [name.strip() for name in chosen.split(",") if name.strip()]
    names = [name.removeprefix("-") for name in given]
    left_out = [name for name in given if name.startswith("-")]
    if left_out and len(left_out) < len(given):
        raise SettingsError(
            f"{VARIABLE} mixes queues to serve with queues to leave out ({left_out[0]}); write one kind"
        )
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SettingsError(
            f"{VARIABLE} names the queue {unknown[0]!r}, which no contract uses; "
            f"known queues: {', '.join(known)}"
        )
    serves = [name for name in known if name not in names] if left_out or not given else names
    if not serves:
        raise SettingsError(f"{VARIABLE} leaves out every queue; known queues: {', '.join(known)}")
    return tuple(dict.fromkeys([*serves, *_former(serves, contracts)]))


def _former(queues: list[str], contracts: Iterable[Contract[Any, Any]]) -> list[str]:
    """Return the former names of these queues, under which tasks may still wait.

    A name that another contract uses now is left out, because workers of that queue serve it.
    """
    in_use = {contract.queue for contract in contracts}
    former = {name for contract in contracts if contract.queue in queues for name in contract.former_queues}
    return sorted(former - in_use)
