"""Updates the table `schedule` to match the schedules that are declared in code.

This is safe to repeat, and safe in two processes at once.
"""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from services.scheduler.slow_items import SlowItems, was_canceled
from shared.contracts.catalogue import Catalogue
from shared.contracts.contract import Contract
from shared.contracts.schedule import Schedule, Times
from shared.errors import Refused, ServerRefuses, SettingsError
from shared.ledger.database import Database
from shared.schedules import statements as schedules
from shared.schedules.firing import encode_params, timing_of
from shared.vault import Vault
from shared.workflows.scheduled import NO_WORKFLOWS, Schedules, WorkflowSchedule

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Declared:
    """A schedule that is declared in code, and the task or workflow that it submits."""

    times: Times
    #: Returns the columns that define what is submitted. It is called inside a transaction and
    #: raises Refused or SettingsError.
    submits: Callable[[], dict[str, Any]]
    #: Hash of the declaration. The row is updated when this differs from the stored hash.
    fingerprint: str


async def align(
    database: Database, catalogue: Catalogue, vault: Vault, workflows: Schedules = NO_WORKFLOWS
) -> bool:
    """Insert new schedules, update changed ones, and switch off those that are no longer
    declared. Returns False if Postgres has canceled a statement of one of them, for example because
    an operator has locked its row, so that the caller has to try again.
    """
    found = [_of_contract(contract, schedule, vault) for contract, schedule in catalogue.schedules]
    found += [_of_workflow(schedule) for schedule in workflows.values()]
    declared = [each.times.name for each in found]
    for row in await database.run(schedules.SWITCH_OFF_UNDECLARED, declared=declared):
        log.warning(
            "a schedule was switched off: the code no longer declares it",
            extra={"schedule": row["name"]},
        )
    slow = SlowItems[str]("schedule")
    for each in found:
        try:
            with slow.tolerating(each.times.name):
                await _try_to_align(database, each)
        except ServerRefuses as error:
            if not was_canceled(error):
                raise
            break  # The others follow in the next round, and due schedules fire before it.
    return not slow.errors


async def _try_to_align(database: Database, declared: Declared) -> None:
    try:
        async with database.translated(), database.transaction():
            await _align_one(database, declared)
    except (Refused, SettingsError) as error:
        log.error(
            "a schedule was not updated and stays as it is: %s",
            error,
            extra={"schedule": declared.times.name},
        )


async def _align_one(database: Database, declared: Declared) -> None:
    schedule = declared.times
    rows = await database.run(schedules.LOCK, name=schedule.name)
    if not rows:
        (clock,) = await database.run("SELECT now() AS now")
        columns = _columns(declared) | _started(schedule, clock["now"], enabled=True)
        if await schedules.insert(database, columns | {"name": schedule.name, "source": "contract"}):
            log.info("a schedule was created from its declaration", extra={"schedule": schedule.name})
        return
    (row,) = rows
    if row["source"] != "contract":
        log.error(
            "a schedule was not created: an operator's schedule has the same name; rename one of them",
            extra={"schedule": schedule.name},
        )
        return
    if row["overridden_at"] is None and row["declared"] != declared.fingerprint:
        enabled = row["paused_at"] is None
        columns = _columns(declared) | _started(schedule, row["now"], enabled=enabled)
        await schedules.change(database, schedule.name, columns)
        log.info("a schedule was updated to its changed declaration", extra={"schedule": schedule.name})
    elif not row["enabled"] and row["paused_at"] is None:
        following = timing_of(row).following(row["now"], start=row["starts_at"])
        await schedules.change(database, schedule.name, {"enabled": True, "next_fire_time": following})
        text = "a schedule was switched on: the code declares it again"
        log.info(text, extra={"schedule": schedule.name})


def _of_contract(contract: Contract[Any, Any], schedule: Schedule, vault: Vault) -> Declared:
    def submits() -> dict[str, Any]:
        params = encode_params(vault, contract, schedule.params, schedule.name)
        return {"task_name": contract.name, "workflow": None, "params": params}

    return Declared(schedule, submits, _fingerprint(schedule, contract.name, schedule.params))


def _of_workflow(schedule: WorkflowSchedule) -> Declared:
    columns = {"task_name": None, "workflow": schedule.workflow, "params": "{}"}
    return Declared(schedule, lambda: columns, _fingerprint(schedule, "workflow", schedule.workflow))


def _columns(declared: Declared) -> dict[str, Any]:
    times = {name: getattr(declared.times, name) for name in _SAME}
    return {**declared.submits(), "declared": declared.fingerprint, **times}


def _started(schedule: Times, now: datetime, *, enabled: bool) -> dict[str, Any]:
    """Return the columns of a schedule that depend on its start, which is now.

    Nominal times before now are not caught up.
    """
    start = now.replace(microsecond=0)
    following = timing_of({name: getattr(schedule, name) for name in _SAME}).following(now, start=start)
    return {"starts_at": start, "enabled": enabled, "next_fire_time": following if enabled else None}


#: Names that are both fields of a declaration and columns of the table `schedule`.
_SAME = (
    *("kind", "expression", "time_zone", "jitter_s", "misfire", "misfire_grace_s", "catch_up_s", "overlap"),
    "priority",
)


def _fingerprint(schedule: Times, *submitted: Any) -> str:
    parts = [*submitted, *(getattr(schedule, name) for name in _SAME)]
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()
