"""What scheduler and API both do with a row of `schedule`: read it, and submit the task of a nominal time."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.contracts.contract import Contract, P, Params
from shared.ledger.database import Database
from shared.schedules import statements as schedules
from shared.schedules.timetable import Misfire, Policy, Timing
from shared.submission import NewTask, Submitter
from shared.vault import Vault

#: Columns on which the nominal times depend.
TIMING = frozenset({"kind", "expression", "time_zone", "jitter_s"})


def encode_params(
    vault: Vault, contract: Contract[P, Any], params: P, name: str, owner: int | None = None
) -> str:
    """JSON for `schedule.params` of this schedule, sensitive fields sealed. Raises InvalidFields."""
    return vault.seal_params(contract, params, name, owner).text


def decode_params(vault: Vault, contract: Contract[P, Any], row: Mapping[str, Any]) -> P:
    """Read what `encode_params` wrote into this row, checked against the contract as it is now.

    Raises InvalidFields or VaultError.
    """
    params, _ = vault.open_params(contract, row["params"], row["name"], row["owner"])
    return params


def timing_of(row: Mapping[str, Any]) -> Timing:
    """Raises InvalidFields; a zone may have left the database since the row was written."""
    return Timing(row["kind"], row["expression"], row["time_zone"], row["jitter_s"])


def policy_of(row: Mapping[str, Any]) -> Policy:
    return Policy(Misfire(row["misfire"]), row["misfire_grace_s"], row["catch_up_s"])


async def unfinished(database: Database, schedule: str) -> UUID | None:
    """The oldest task of a schedule that is not final."""
    rows = await database.run(schedules.UNFINISHED, schedule=schedule)
    return UUID(int=rows[0]["id"].int) if rows else None


async def fire(
    database: Database,
    submitter: Submitter,
    row: Mapping[str, Any],
    contract: Contract[Any, Any],
    params: Params,
    times: Sequence[datetime],
    *,
    by: int | None = None,
) -> dict[datetime, UUID]:
    """Submit one task per nominal time that nobody has recorded; returns these times with their tasks.

    `by` is the account that fires by hand; then there is no jitter.
    The caller has locked the row, and read `now` with it, in a transaction of `submitter`, so that record and
    task commit together.
    """
    name, timing = row["name"], timing_of(row)
    database.note_time(row["now"])
    detail = None if by is None else f"fired by account {by}"
    new = await schedules.record(database, name, "submitted", times, detail)
    tasks = [
        NewTask(
            contract=contract,
            params=params,
            owner=row["owner"],
            priority=row["priority"],
            # Without jitter the id is pushed with the commit.
            run_at=time + timing.jitter(name, time) if timing.jitter_s and by is None else None,
            schedule=name,
            fire_time=time,
        )
        for time in new
    ]
    ids = await submitter.submit(tasks) if tasks else []
    await database.run(schedules.LINK_TASKS, schedule=name, fire_time=new, task_id=ids)
    return dict(zip(new, ids, strict=True))
