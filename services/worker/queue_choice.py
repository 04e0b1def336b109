"""Which queues a worker serves, by `OFTEN_WORKER_QUEUES`."""

from collections.abc import Iterable, Mapping
from typing import Any

from services.worker.registry import TaskFunction
from shared.contracts.catalogue import Catalogue
from shared.contracts.contract import Contract
from shared.errors import SettingsError

VARIABLE = "OFTEN_WORKER_QUEUES"


def queue_names(chosen: str, tasks: Mapping[str, TaskFunction[Any, Any]]) -> tuple[str, ...]:
    """The queues to serve: those that are named, all but those named with a minus, or all.

    Raises SettingsError for a queue that no contract names, and when no queue is left.
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
        raise SettingsError(f"{VARIABLE} names {unknown[0]!r}; known queues: {', '.join(known)}")
    serves = [name for name in known if name not in names] if left_out or not given else names
    if not serves:
        raise SettingsError(f"{VARIABLE} leaves out every queue; known queues: {', '.join(known)}")
    return tuple(dict.fromkeys([*serves, *_former(serves, contracts)]))


def _former(queues: list[str], contracts: Iterable[Contract[Any, Any]]) -> list[str]:
    """What these queues were called before. A name that is in use again has workers of its own."""
    in_use = {contract.queue for contract in contracts}
    former = {name for contract in contracts if contract.queue in queues for name in contract.former_queues}
    return sorted(former - in_use)
