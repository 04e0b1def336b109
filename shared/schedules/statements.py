"""The SQL of schedules and of what became of their nominal times."""

from collections.abc import Mapping, Sequence
from typing import Any

from shared.ledger.database import Database
from shared.ledger.statement import Statement

#: Reads the index of due times only.
DUE = Statement("""
    SELECT name FROM schedule WHERE next_fire_time <= now() ORDER BY next_fire_time LIMIT :limit
""")

#: Skips a schedule that another leader is firing at this moment.
LOCK_DUE = Statement("""
    SELECT *, now() AS now FROM schedule WHERE name = :name AND next_fire_time <= now()
    FOR UPDATE SKIP LOCKED
""")

LOCK = Statement("SELECT *, now() AS now FROM schedule WHERE name = :name FOR UPDATE")

#: Reads the index of tasks that are in a place. Without MATERIALIZED the ORDER BY would make Postgres read
#: all tasks of all days by their ids.
UNFINISHED = Statement("""
    WITH unfinished AS MATERIALIZED (
        SELECT id FROM task WHERE schedule = :schedule AND num_nonnulls(send_at, sent_at, holder) > 0
    )
    SELECT id FROM unfinished ORDER BY id LIMIT 1
""")

#: The same of workflows, whose index holds those that have not ended.
UNFINISHED_WORKFLOW = Statement("""
    SELECT id FROM workflow WHERE schedule = :schedule AND completed_at IS NULL ORDER BY id LIMIT 1
""")

#: A nominal time counts once, under the outcome that was recorded first. Returns the times that were new, in
#: order.
RECORD_FIRINGS = Statement("""
    WITH recorded AS (
        INSERT INTO schedule_firing (schedule, fire_time, outcome, detail)
        SELECT :schedule, fire_time, :outcome, :detail FROM unnest(:fire_time::timestamptz[]) AS g(fire_time)
        ON CONFLICT DO NOTHING
        RETURNING fire_time
    )
    SELECT fire_time FROM recorded ORDER BY fire_time
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

#: Sets the next time; a `last_fire_time` of null leaves the stored one.
ADVANCE = Statement("""
    UPDATE schedule SET next_fire_time = :next_fire_time,
        last_fire_time = coalesce(:last_fire_time, last_fire_time)
    WHERE name = :name
""")

STOP = Statement("UPDATE schedule SET enabled = false, next_fire_time = NULL WHERE name = :name")

#: Switches off schedules that no code declares any more.
SWITCH_OFF_UNDECLARED = Statement("""
    UPDATE schedule SET enabled = false, next_fire_time = NULL, updated_at = now(), revision = revision + 1
    WHERE source = 'contract' AND enabled AND name <> ALL(:declared::text[])
    RETURNING name
""")

#: Deletes schedules whose tasks name an account (`fields`: the parameter by the name of the task), and those
#: with fields that only this account could have read.
DELETE_OF_ACCOUNT = Statement("""
    DELETE FROM schedule WHERE source = 'api' AND (
        params ->> (:fields::text::jsonb ->> task_name) = :account::bigint::text
        OR (owner = :account::bigint AND params::text ~ '"[$](bound|sealed)"')
    )
    RETURNING 1
""")


async def insert(database: Database, columns: Mapping[str, Any]) -> bool:
    """Add a schedule; False when its name is taken. `params` is JSON text."""
    names = ", ".join(columns)
    values = ", ".join(map(_value, columns))
    sql = f"INSERT INTO schedule ({names}) VALUES ({values}) ON CONFLICT (name) DO NOTHING RETURNING name"
    return bool(await database.run(Statement(sql), **columns))


async def change(database: Database, schedule: str, columns: Mapping[str, Any]) -> None:
    """Change a schedule whose row the caller has locked, and raise its revision."""
    changes = ", ".join(f"{column} = {_value(column)}" for column in columns)
    sql = f"UPDATE schedule SET {changes}, updated_at = now(), revision = revision + 1 WHERE name = :schedule"
    await database.run(Statement(sql), **columns, schedule=schedule)


def _value(column: str) -> str:
    return f":{column}::text::jsonb" if column == "params" else f":{column}"


async def record(
    database: Database, schedule: str, outcome: str, times: Sequence[Any], detail: str | None = None
) -> list[Any]:
    """Record what became of these nominal times; returns those that had no record yet."""
    rows = await database.run(
        RECORD_FIRINGS, schedule=schedule, outcome=outcome, detail=detail, fire_time=list(times)
    )
    return [row["fire_time"] for row in rows]
