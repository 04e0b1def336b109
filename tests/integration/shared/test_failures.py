"""Tests that `task_failure` has a row for each task that has failed for good, and for no other
task.
"""

import importlib
from uuid import UUID, uuid4

from shared.ledger.tally import Errors, Tally
from shared.ledger.transitions import erase, operate
from shared.ledger.transitions.expire import EXPIRE
from shared.migration import session
from tests.platform import Platform
from tests.sample_tasks import FAIL, INSTANT, Fails, Nothing

MIGRATION = importlib.import_module("shared.ledger.migrations.ledger_2026_11_30t18_00_00_000000")


async def noted(platform: Platform) -> dict[UUID, dict[str, object]]:
    rows = await platform.rows("SELECT * FROM task_failure")
    return {UUID(int=row["task_id"].int): row for row in rows}


async def test_a_failure_is_added_with_its_end_and_removed_with_its_retry(platform: Platform) -> None:
    await platform.start_scheduler()
    await platform.start_worker()
    (failing,) = await platform.submit(FAIL, Fails(kind="permanent"), owner=7)
    (passing,) = await platform.submit(FAIL, Fails(kind="expected", times=1))
    rows = {row["status"]: row for row in await platform.all_final([failing, passing])}
    assert set(rows) == {"failure", "success"}
    (note,) = (await noted(platform)).values()
    failed = rows["failure"]
    assert note == {
        "task_id": failed["id"],
        "name": failed["name"],
        "queue": failed["queue"],
        "owner": 7,
        "fingerprint": failed["error_fingerprint"],
        "failed_at": failed["completed_at"],
    }
    await platform.rows(operate.RETRY, id=failing, reason="again", delay_s=None, **operate.UNEDITED)
    assert failing not in await noted(platform) or (await platform.task(failing))["status"] == "failure"
    again = await platform.until(failing, "failure")
    assert (await noted(platform))[failing]["failed_at"] == again["completed_at"]


async def test_an_erased_failure_has_no_owner_and_its_group_quotes_it_no_longer(platform: Platform) -> None:
    (mine,) = await platform.submit(INSTANT, Nothing(), owner=7)
    await _fail(platform, mine)
    tally = Tally(platform.database)
    for fingerprint, task in (("v2:b", mine), ("v2:a", mine), ("v2:c", uuid4())):
        tally.add_error(Errors(fingerprint, INSTANT.name, "bug", None, None, "for Ann", task, attempts=1))
    await tally.run_once()
    assert await platform.rows(erase.ERASE, id=[mine], account=7, owed=[])
    assert [note["owner"] for note in (await noted(platform)).values()] == [None]
    groups = await platform.rows("SELECT message FROM error_group ORDER BY fingerprint")
    assert [group["message"] for group in groups] == [None, None, "for Ann"]
    # A worker stores its error counts with a delay of up to five seconds, so possibly after the
    # account was erased. The message must not be stored then.
    tally.add_error(Errors("v2:d", INSTANT.name, "bug", None, None, "for Ann", mine, attempts=1))
    await tally.run_once()
    (late,) = await platform.rows("SELECT message, sample_task FROM error_group WHERE fingerprint = 'v2:d'")
    assert (late["message"], late["sample_task"]) == (None, mine)


async def test_the_migration_adds_earlier_failures_and_partitions_for_their_days(
    platform: Platform,
) -> None:
    old, ended = await platform.submit(INSTANT, Nothing(), count=2)
    await _fail(platform, old)
    await platform.rows("DROP TABLE task_failure")
    await platform.rows("CREATE TABLE task_kept (LIKE task INCLUDING ALL)")
    await platform.rows(
        "ALTER TABLE task ATTACH PARTITION task_kept "
        "FOR VALUES FROM (MINVALUE) TO ('00000000-0000-0001-0000-000000000000')"
    )
    for _ in range(2):  # run the migration twice, as after an interruption
        async with session.opened(platform.database.engine) as opened:
            for step in MIGRATION.STEPS:
                await step.run(opened)
    assert set(await noted(platform)) == {old}
    await platform.rows(
        "INSERT INTO task_failure (task_id, name, queue, failed_at) VALUES ({}, 'a.b', 'default', now())",
        UUID(int=1),
    )
    bounds = """
        SELECT array_agg(pg_get_expr(relpartbound, oid) ORDER BY pg_get_expr(relpartbound, oid)) AS days
        FROM pg_class
        WHERE oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = {}::text::regclass)
    """
    assert await platform.rows(bounds, "task") == await platform.rows(bounds, "task_failure")
    assert (await platform.task(ended))["status"] == "pending"


async def test_a_failure_left_by_the_previous_release_is_replaced(platform: Platform) -> None:
    (task,) = await platform.submit(INSTANT, Nothing())
    await _fail(platform, task)
    await platform.rows("UPDATE task SET status = 'pending', completed_at = NULL, send_at = now()")
    before = (await noted(platform))[task]["failed_at"]
    await _fail(platform, task)
    assert (await noted(platform))[task]["failed_at"] > before  # type: ignore[operator]


async def _fail(platform: Platform, task: UUID) -> None:
    """Let the deadline of a waiting task pass, and fail it with the scheduler's statement for such
    tasks.
    """
    await platform.rows("UPDATE task SET expires_at = now() WHERE id = {}", task)
    assert await platform.rows(EXPIRE, limit=10, error_kind="expired", error_message="too late")
