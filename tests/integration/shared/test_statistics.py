"""Tests that ended tasks are counted per minute, and that minutes are merged into hours."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from services.scheduler.expirer import Expirer
from services.scheduler.statistics import Statistics
from shared.errors import ServerAway
from shared.ledger.database import Database
from shared.ledger.rollup import HISTOGRAMS
from shared.ledger.tally import Tally
from tests.eventually import eventually
from tests.platform import Platform
from tests.sample_tasks import FAIL, INSTANT, Fails, Nothing


async def sums(platform: Platform) -> dict[tuple[str, str], int]:
    rows = await platform.rows(
        "SELECT name, outcome, sum(n)::int AS n FROM task_minute GROUP BY name, outcome"
    )
    return {(row["name"], row["outcome"]): row["n"] for row in rows}


async def test_a_draining_worker_stores_all_its_counts(platform: Platform) -> None:
    await platform.start_scheduler()
    worker = await platform.start_worker()
    ids = await platform.submit(INSTANT, Nothing(), count=40)
    ids += await platform.submit(FAIL, Fails(kind="expected", times=1))
    ids += await platform.submit(FAIL, Fails(kind="permanent"))
    rows = await platform.all_final(ids)
    worker.terminate()
    worker.wait(timeout=30)
    assert await sums(platform) == {
        ("sample.fail", "failure"): 1,
        ("sample.fail", "retry"): 1,
        ("sample.fail", "success"): 1,
        ("sample.instant", "success"): 40,
    }
    (row,) = await platform.rows(
        "SELECT sum(run_s) AS run_s, sum(n)::int AS n, sum(s)::int AS counted FROM task_minute, "
        "LATERAL (SELECT sum(v) AS s FROM unnest(run_hist) AS v) AS h WHERE outcome <> 'retry'"
    )
    errors = await platform.rows(
        "SELECT kind, type, place, attempts::int, tasks::int "
        "FROM error_group JOIN error_hour USING (fingerprint) "
        "WHERE (fingerprint, sample_task) IN ("
        "    SELECT error_fingerprint, id FROM task UNION SELECT error_fingerprint, task_id FROM task_attempt"
        ") ORDER BY kind"
    )
    assert [tuple(each.values()) for each in errors] == [
        ("expected", "shared.errors.ExpectedError", "tests.sample_tasks:fail", 1, 0),
        ("permanent", "shared.errors.PermanentError", "tests.sample_tasks:fail", 1, 1),
    ]
    assert row["counted"] == row["n"] == 42
    assert row["run_s"] == pytest.approx(sum(each["execution_time_seconds"] for each in rows))


async def test_tasks_that_the_scheduler_ends_are_counted(platform: Platform) -> None:
    await platform.submit(INSTANT, Nothing(), count=3)
    await platform.rows("UPDATE task SET expires_at = now()")
    tally = Tally(platform.database)
    await Expirer(platform.database, platform.queues, tally).run_once()
    await tally.run_once()
    assert await sums(platform) == {("sample.instant", "failure"): 3}


async def test_a_scheduler_that_stops_has_stored_all_that_it_counted(platform: Platform) -> None:
    scheduler = await platform.start_scheduler()
    await platform.submit(INSTANT, Nothing(), count=3)
    await platform.rows("UPDATE task SET expires_at = now()")
    await eventually(lambda: platform.rows("SELECT 1 FROM task WHERE status = 'failure'"))
    # The scheduler counts an ended task only after its commit. Once it has ended one more task, the
    # first three are counted for certain.
    (last,) = await platform.submit(INSTANT, Nothing())
    await platform.rows("UPDATE task SET expires_at = now() WHERE id = {}", last)
    await platform.until(last, "failure")
    scheduler.terminate()
    assert scheduler.wait(timeout=30) == 0
    assert (await sums(platform))["sample.instant", "failure"] in (3, 4)


async def test_only_the_row_that_postgres_refuses_is_dropped(platform: Platform) -> None:
    tally = Tally(platform.database)
    tally.add("q", "a.good", "success", 0.1, 0.1)
    tally.add("q", "a.bad", "success", float("nan"), 0.1)
    tally.add("q", "b.good", "success", 0.1, 0.1)
    await tally.run_once()
    tally.add("q", "a.good", "success", 0.1, 0.1)
    await tally.flush(2)
    assert await sums(platform) == {("a.good", "success"): 2, ("b.good", "success"): 1}


async def test_refused_counts_end_the_transaction_that_stores_them(platform: Platform) -> None:
    tally = Tally(platform.database)
    tally.add("q", "a.bad", "success", float("nan"), 0.1)
    (task,) = await platform.submit(INSTANT, Nothing())

    async def change() -> None:
        async with platform.database.short_transaction():
            await platform.database.run("UPDATE task SET priority = 9")
            await tally.store_in_transaction()

    with pytest.raises(asyncpg.PostgresError):
        await change()
    assert (await platform.task(task))["priority"] != 9


async def test_sums_of_two_processes_are_added_and_one_that_could_not_store_tries_again(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Tally(platform.database), Tally(platform.database)
    first.add("q", "a.b", "success", 0.01, 0.3)
    with monkeypatch.context() as context:

        async def away(*_: object, **__: object) -> None:
            first.add("q", "a.b", "success", 90, 2)
            raise ServerAway("Postgres")

        context.setattr(Database, "run", away)
        with pytest.raises(ServerAway):
            await first.run_once()
    second.add("q", "a.b", "success", None, 4_000)
    for tally in (first, second, first):
        await tally.run_once()
    rows = await platform.rows("SELECT *, minute = date_trunc('minute', minute) AS whole FROM task_minute")
    assert len(rows) <= 2  # two rows if a new minute has begun in between
    assert all(row["whole"] for row in rows)
    assert sum(row["n"] for row in rows) == 3
    assert sum(row["run_s"] for row in rows) == 4_002.3
    assert max(row["max_run_s"] for row in rows) == 4_000
    assert _sum(rows, "run_hist") == [0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1]
    assert _sum(rows, "wait_hist") == [0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]


def _sum(rows: list[dict[str, Any]], histogram: str) -> list[int]:
    return [sum(counts) for counts in zip(*(row[histogram] for row in rows), strict=True)]


async def test_ended_hours_are_summed_and_old_rows_go(platform: Platform) -> None:
    tally = Tally(platform.database)
    old = (datetime.now(UTC) - timedelta(days=3)).replace(minute=0, second=0, microsecond=0)

    async def ended(minute: int) -> None:
        tally.add("q", "a.b", "success", None, 1 + minute)
        await tally.run_once()
        await platform.rows(
            "UPDATE task_minute SET minute = {} WHERE minute > now() - interval '1 hour'",
            old + timedelta(minutes=minute),
        )

    for minute in (0, 59, 60):
        await ended(minute)
    tally.add("q", "a.b", "success")
    await tally.run_once()
    service = Statistics(platform.database)
    assert [await service.run_once() for _ in range(3)] == [True, True, False]
    hours = await platform.rows("SELECT hour, n, run_s, max_run_s, run_hist FROM task_hour ORDER BY hour")
    assert [(row["hour"], row["n"], row["run_s"], row["max_run_s"]) for row in hours] == [
        (old, 2, 61, 60),
        (old + timedelta(hours=1), 1, 61, 61),
    ]
    assert len(hours[0]["run_hist"]) == HISTOGRAMS["run_hist"]
    assert sum(hours[0]["run_hist"]) == 2
    assert await sums(platform) == {("a.b", "success"): 1}
    await platform.rows("UPDATE task_hour SET hour = now() - interval '401 days' WHERE n = 1")
    await service.run_once()
    assert [row["n"] for row in await platform.rows("SELECT n FROM task_hour")] == [2]
