"""SQL statements about schedules and the records of their nominal times."""

from collections.abc import Mapping, Sequence
from typing import Any

from shared.ledger.database import Database
from shared.ledger.statement import Statement

#: Reads the names of due schedules, using only the index on `next_fire_time`.
DUE = Statement("""
    SELECT name FROM schedule WHERE next_fire_time <= now() ORDER BY next_fire_time LIMIT :limit
""")

#: Locks a due schedule. A schedule that another scheduler is firing at this moment is skipped.
LOCK_DUE = Statement("""
    SELECT *, now() AS now FROM schedule WHERE name = :name AND next_fire_time <= now()
    FOR UPDATE SKIP LOCKED
""")

LOCK = Statement("SELECT *, now() AS now FROM schedule WHERE name = :name FOR UPDATE")

#: Reads the oldest unfinished task of a schedule. It uses the index of unfinished tasks, which are
#: those with `send_at`, `sent_at` or `holder`. Without MATERIALIZED, Postgres would satisfy the
#: ORDER BY by reading the tasks of all days in the order of their ids.
UNFINISHED = Statement("""
    WITH unfinished AS MATERIALIZED (
        SELECT id FROM task WHERE schedule = :schedule AND num_nonnulls(send_at, sent_at, holder) > 0
    )
    SELECT id FROM unfinished ORDER BY id LIMIT 1
""")

#: Reads the oldest unfinished workflow of a schedule, using an index of unfinished workflows.
UNFINISHED_WORKFLOW = Statement("""
    SELECT id FROM workflow WHERE schedule = :schedule AND completed_at IS NULL ORDER BY id LIMIT 1
""")

#: Records an outcome for nominal times of a schedule. A time that has a record keeps it. Returns
#: the times that had none, in order.
RECORD_FIRINGS = Statement("""
    WITH recorded AS (
        INSERT INTO schedule_firing (schedule, fire_time, outcome, detail)
        SELECT :schedule, fire_time, :outcome, :detail FROM unnest(:fire_time::timestamptz[]) AS g(fire_time)
        ON CONFLICT DO NOTHING
        RETURNING fire_time
    )
    SELECT fire_time FROM recorded ORDER BY fire_time
""")

#: Records nominal times as submitted, unless something was already submitted for them. That
#: includes times without a record, and times that were skipped or have failed. Returns the recorded
#: times in order.
RECORD_BACKFILL = Statement("""
    WITH recorded AS (
        INSERT INTO schedule_firing AS f (schedule, fire_time, outcome, detail)
        SELECT :schedule, fire_time, 'submitted', :detail
        FROM unnest(:fire_time::timestamptz[]) AS g(fire_time)
        ON CONFLICT (schedule, fire_time) DO UPDATE
            SET outcome = excluded.outcome, detail = excluded.detail, fired_at = now()
            WHERE f.outcome <> 'submitted'
        RETURNING fire_time
    )
    SELECT fire_time FROM recorded ORDER BY fire_time
""")

#: Reads the nominal times of a schedule from `first` up to but excluding `last` for which a task or
#: workflow was submitted.
FIRED = Statement("""
    SELECT fire_time, task_id, workflow_id FROM schedule_firing
    WHERE schedule = :schedule AND fire_time >= :first AND fire_time < :last AND outcome = 'submitted'
""")

LINK_TASKS = Statement("""
    UPDATE schedule_firing AS f SET task_id = g.task_id
    FROM unnest(:fire_time::timestamptz[], :task_id::uuid[]) AS g(fire_time, task_id)
    WHERE f.schedule = :schedule AND f.fire_time = g.fire_time
""")

LINK_WORKFLOWS = Statement("""
    UPDATE schedule_firing AS f SET workflow_id = g.workflow_id
    FROM unnest(:fire_time::timestamptz[], :workflow_id::uuid[]) AS g(fire_time, workflow_id)
    WHERE f.schedule = :schedule AND f.fire_time = g.fire_time
""")

#: Sets the next nominal time of a schedule. If `last_fire_time` is null, the stored one is kept.
ADVANCE = Statement("""
    UPDATE schedule SET next_fire_time = :next_fire_time,
        last_fire_time = coalesce(:last_fire_time, last_fire_time)
    WHERE name = :name
""")

STOP = Statement("UPDATE schedule SET enabled = false, next_fire_time = NULL WHERE name = :name")

#: Disables schedules that were once declared in code but no longer are.
SWITCH_OFF_UNDECLARED = Statement("""
    UPDATE schedule SET enabled = false, next_fire_time = NULL, updated_at = now(), revision = revision + 1
    WHERE source = 'contract' AND enabled AND name <> ALL(:declared::text[])
    RETURNING name
""")

#: Deletes the schedules of an erased account: those whose parameters name the account, and those
#: with encrypted fields that only this account may read. `fields` maps the name of a task to the
#: parameter that contains an account's id.
DELETE_OF_ACCOUNT = Statement("""
    DELETE FROM schedule WHERE source = 'api' AND (
        params ->> (:fields::text::jsonb ->> task_name) = :account::bigint::text
        OR (owner = :account::bigint AND params::text ~ '"[$](bound|sealed)"')
    )
    RETURNING 1
""")


async def insert(database: Database, columns: Mapping[str, Any]) -> bool:
    """Insert a schedule. Returns False if its name is taken. `params` is JSON text."""
    names = ", ".join(columns)
    values = ", ".join(map(_value, columns))
    sql = f"INSERT INTO schedule ({names}) VALUES ({values}) ON CONFLICT (name) DO NOTHING RETURNING name"
    return bool(await database.run(Statement(sql), **columns))


async def change(database: Database, schedule: str, columns: Mapping[str, Any]) -> None:
    """Update the columns of a schedule, whose row the caller has locked, and increase its
    revision.
    """
    changes = ", ".join(f"{column} = {_value(column)}" for column in columns)
    sql = f"UPDATE schedule SET {changes}, updated_at = now(), revision = revision + 1 WHERE name = :schedule"
    await database.run(Statement(sql), **columns, schedule=schedule)


def _value(column: str) -> str:
    return f":{column}::text::jsonb" if column == "params" else f":{column}"


async def record(
    database: Database, schedule: str, outcome: str, times: Sequence[Any], detail: str | None = None
) -> list[Any]:
    """Record an outcome for these nominal times of a schedule. Returns the times that had no record
    yet.
    """
    rows = await database.run(
        RECORD_FIRINGS, schedule=schedule, outcome=outcome, detail=detail, fire_time=list(times)
    )
    return [row["fire_time"] for row in rows]
