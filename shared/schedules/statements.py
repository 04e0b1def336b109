"""The SQL of schedules and of what became of their times. `{}` stands for a value."""

from collections.abc import Mapping, Sequence
from typing import Any

from shared.ledger.database import Database

#: values: limit. Reads the index of due times only.
DUE = "SELECT name FROM schedule WHERE next_fire_time <= now() ORDER BY next_fire_time LIMIT {}"

#: A schedule that another leader fires at this moment is left to it. values: name.
LOCK_DUE = """
    SELECT *, now() AS now FROM schedule WHERE name = {} AND next_fire_time <= now() FOR UPDATE SKIP LOCKED
"""

#: values: name.
LOCK = "SELECT *, now() AS now FROM schedule WHERE name = {} FOR UPDATE"

#: Reads the index of tasks that are in a place. Put in order at once, all tasks of all days would be read by
#: their ids. values: schedule.
UNFINISHED = """
    WITH unfinished AS MATERIALIZED (
        SELECT id FROM task WHERE schedule = {} AND num_nonnulls(send_at, sent_at, holder) > 0
    )
    SELECT id FROM unfinished ORDER BY id LIMIT 1
"""

#: A nominal time counts once, whoever comes first. values: schedule, outcome, detail, fire_time[]. Returns
#: the times that were new, in order.
RECORD_FIRINGS = """
    WITH recorded AS (
        INSERT INTO schedule_firing (schedule, fire_time, outcome, detail)
        SELECT {}, fire_time, {}, {} FROM unnest({}::timestamptz[]) AS g(fire_time)
        ON CONFLICT DO NOTHING
        RETURNING fire_time
    )
    SELECT fire_time FROM recorded ORDER BY fire_time
"""

#: values: fire_time[], task_id[], schedule.
LINK_TASKS = """
    UPDATE schedule_firing AS f SET task_id = g.task_id
    FROM unnest({}::timestamptz[], {}::uuid[]) AS g(fire_time, task_id)
    WHERE f.schedule = {} AND f.fire_time = g.fire_time
"""

#: values: next_fire_time, last_fire_time or null, name.
ADVANCE = """
    UPDATE schedule SET next_fire_time = {}, last_fire_time = coalesce({}, last_fire_time) WHERE name = {}
"""

#: values: name.
STOP = "UPDATE schedule SET enabled = false, next_fire_time = NULL WHERE name = {}"

#: A schedule whose contract is gone. values: names that are declared.
SWITCH_OFF_UNDECLARED = """
    UPDATE schedule SET enabled = false, next_fire_time = NULL, updated_at = now(), revision = revision + 1
    WHERE source = 'contract' AND enabled AND name <> ALL({}::text[])
    RETURNING name
"""


async def insert(database: Database, columns: Mapping[str, Any]) -> bool:
    """Add a schedule; False when its name is taken. `params` is JSON text."""
    names = ", ".join(columns)
    places = ", ".join("{}::text::jsonb" if name == "params" else "{}" for name in columns)
    sql = f"INSERT INTO schedule ({names}) VALUES ({places}) ON CONFLICT (name) DO NOTHING RETURNING name"
    return bool(await database.run(sql, *columns.values()))


async def change(database: Database, name: str, columns: Mapping[str, Any]) -> None:
    """Change a schedule that the caller has locked; says by its revision that it did."""
    changes = ", ".join(f"{c} = {{}}" + ("::text::jsonb" if c == "params" else "") for c in columns)
    sql = f"UPDATE schedule SET {changes}, updated_at = now(), revision = revision + 1 WHERE name = {{}}"
    await database.run(sql, *columns.values(), name)


async def record(
    database: Database, schedule: str, outcome: str, times: Sequence[Any], detail: str | None = None
) -> list[Any]:
    """Record what became of these nominal times; returns those that nobody had recorded."""
    rows = await database.run(RECORD_FIRINGS, schedule, outcome, detail, list(times))
    return [row["fire_time"] for row in rows]
