"""Brings the table `schedule` in line with what contracts declare. Safe to repeat, and by two at once."""

import hashlib
import logging
from datetime import datetime
from typing import Any

import msgspec

from shared.contracts.catalogue import Catalogue
from shared.contracts.contract import Contract
from shared.contracts.schedule import Schedule
from shared.errors import Refused, SettingsError
from shared.ledger.database import Database
from shared.schedules import statements as schedules
from shared.schedules.firing import encode_params, timing_of
from shared.vault import Vault

log = logging.getLogger(__name__)


async def align(database: Database, catalogue: Catalogue, vault: Vault) -> None:
    """Insert new schedules, update changed ones, switch off those that no contract declares any more."""
    declared = [schedule.name for _, schedule in catalogue.schedules]
    for row in await database.run(schedules.SWITCH_OFF_UNDECLARED, declared=declared):
        log.warning("schedule %s is off: no contract declares it any more", row["name"])
    for contract, schedule in catalogue.schedules:
        try:
            async with database.translated(), database.transaction():
                await _align_one(database, contract, schedule, vault)
        except (Refused, SettingsError) as error:
            log.error("schedule %s stays as it is: %s", schedule.name, error)


async def _align_one(
    database: Database, contract: Contract[Any, Any], schedule: Schedule, vault: Vault
) -> None:
    rows = await database.run(schedules.LOCK, name=schedule.name)
    if not rows:
        (clock,) = await database.run("SELECT now() AS now")
        columns = _columns(contract, schedule, vault) | _started(schedule, clock["now"], enabled=True)
        if await schedules.insert(database, columns | {"name": schedule.name, "source": "contract"}):
            log.info("schedule %s is new", schedule.name)
        return
    (row,) = rows
    if row["source"] != "contract":
        log.error("schedule %s of %s has a name that another schedule has", schedule.name, contract.name)
        return
    if row["overridden_at"] is None and row["declared"] != _fingerprint(contract, schedule):
        enabled = row["paused_at"] is None
        columns = _columns(contract, schedule, vault) | _started(schedule, row["now"], enabled=enabled)
        await schedules.change(database, schedule.name, columns)
        log.info("schedule %s follows its changed contract", schedule.name)
    elif not row["enabled"] and row["paused_at"] is None:
        following = timing_of(row).following(row["now"], start=row["starts_at"])
        await schedules.change(database, schedule.name, {"enabled": True, "next_fire_time": following})
        log.info("schedule %s is on: its contract is back", schedule.name)


def _columns(contract: Contract[Any, Any], schedule: Schedule, vault: Vault) -> dict[str, Any]:
    return {
        "task_name": contract.name,
        "params": encode_params(vault, contract, schedule.params, schedule.name),
        "declared": _fingerprint(contract, schedule),
        **{name: getattr(schedule, name) for name in _SAME},
    }


def _started(schedule: Schedule, now: datetime, *, enabled: bool) -> dict[str, Any]:
    """Columns of a schedule that starts now; what lies before is not made up for."""
    start = now.replace(microsecond=0)
    following = timing_of({name: getattr(schedule, name) for name in _SAME}).following(now, start=start)
    return {"starts_at": start, "enabled": enabled, "next_fire_time": following if enabled else None}


#: Fields that the table takes over under the same name.
_SAME = (
    *("kind", "expression", "time_zone", "jitter_s", "misfire", "misfire_grace_s", "catch_up_s", "overlap"),
    "priority",
)


def _fingerprint(contract: Contract[Any, Any], schedule: Schedule) -> str:
    parts = [contract.name, schedule.params, *(getattr(schedule, name) for name in _SAME)]
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()
