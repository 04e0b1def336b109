"""Tests of task lists: filters find the right tasks, and a search that runs out of time says how
far back it got.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.api import reads
from services.api.reads import Reads
from services.api.tasks import scan, search
from shared.ledger import partitions
from shared.ledger.ids import FIRST_ID, LAST_ID, uuid7
from shared.ledger.lifecycle import Status
from shared.ledger.task_filter import TaskFilter
from shared.ledger.task_tables import Task
from tests.integration.api.conftest import Person
from tests.workflow_rows import ADD_STEPS

#: Inserts succeeded tasks of the last hours. $1: the number of tasks, $2: their owner.
FILL = """
    INSERT INTO task (id, name, type, queue, status, params, completed_at, owner)
    SELECT uuidv7(make_interval(secs => -n)),
           CASE WHEN n % 100 = 99 THEN 'sample.rare' ELSE 'sample.often' END,
           'sample', CASE WHEN n % 2 = 0 THEN 'even' ELSE 'odd' END, 'success',
           jsonb_build_object('number', n, 'place', jsonb_build_object('city', 'c' || n)), now(), $2
    FROM generate_series(1, $1::integer) AS n
"""
#: Makes every $1-th of the inserted tasks fail.
FAIL = """
    WITH failed AS (
        UPDATE task SET status = 'failure', error_message = 'out of paper',
            error_fingerprint = 'f' || ($1 % 7)
        WHERE (params->>'number')::integer % $1 = 0 RETURNING *
    )
    INSERT INTO task_failure (task_id, name, queue, owner, fingerprint, failed_at)
    SELECT id, name, queue, owner, error_fingerprint, completed_at FROM failed
"""


async def numbers(person: Person, **filters: Any) -> list[int]:
    """Read all pages of a filtered list of tasks. Returns each task's parameter `number`."""
    found: list[int] = []
    while True:
        answer = await person.get("tasks", **filters)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += [item["params"]["number"] for item in page["items"]]
        assert page["complete"] or page["next_cursor"] is not None
        assert (page["searched_until"] is None) == page["complete"]
        if page["next_cursor"] is None:
            return found
        filters["cursor"] = page["next_cursor"]


async def test_failures_are_found_by_name_queue_fingerprint_and_owner(
    administrator: Person, guest: Person, database: Any
) -> None:
    await database.execute(FILL, 400, guest.id)
    await database.execute(FAIL, 33)
    failed = list(range(33, 401, 33))
    assert await numbers(administrator, status="failure", limit=2) == failed
    assert await numbers(administrator, status="failure", name="sample.rare") == [99]
    assert await numbers(administrator, status="failure", queue="even") == [n for n in failed if n % 2 == 0]
    assert await numbers(administrator, status="failure", fingerprint="f5") == failed
    assert await numbers(administrator, status="failure", fingerprint="f6") == []
    assert await numbers(guest, status="failure", error="PAPER") == failed
    assert await numbers(administrator, status="failure", owner=guest.id + 1) == []
    both = ["failure", "success"]
    assert await numbers(administrator, status=both, name="sample.rare") == [99, 199, 299, 399]
    # `task_failure` is used only to find candidates. A task that is not failed in its own row is
    # left out of the list.
    await database.execute("UPDATE task SET status = 'success' WHERE params->>'number' = '66'")
    assert await numbers(administrator, status="failure") == [n for n in failed if n != 66]


async def test_lists_are_filtered_by_parameters_and_relations(
    administrator: Person, guest: Person, database: Any
) -> None:
    await database.execute(FILL, 30, guest.id)
    worker, parent, workflow = uuid4(), uuid7(datetime.now(UTC) - timedelta(hours=1)), uuid4()
    await database.execute(
        "UPDATE task SET worker = $1, parent = $2, workflow = $3, step = 'one', schedule = 'nightly', "
        "params = params || '{\"text\": \"7\", \"on\": true}' WHERE params->>'number' = '7'",
        worker,
        parent,
        workflow,
    )
    await database.execute(ADD_STEPS)
    for name, value in [
        ("worker", worker),
        ("parent", parent),
        ("workflow", workflow),
        ("schedule", "nightly"),
        ("params.number", 7),
        ("params.text", 7),
        ("params.on", "true"),
        ("params.place.city", "c7"),
    ]:
        assert await numbers(administrator, **{name: str(value)}) == [7], name
    assert await numbers(administrator, **{"params.number": "7", "params.on": "false"}) == []
    both = ["even", "odd"]
    assert await numbers(administrator, queue=both, name="sample.often", limit=9) == [*range(1, 31)]


BAD_FILTERS: list[Any] = [
    ("params.", "1"),
    ("params.a-b", "1"),
    ("params.a", '"\\u0000"'),
    ("params.a", "x" * 201),
    ("params", "1"),
    ("error", "\x00"),
    ("schedule", "\x00"),
    ("created_after", "0001-01-01T00:00:00+01:00"),
    ("created_before", "9999-12-31T23:59:59-12:00"),
    ("completed_after", "0001-01-01T00:00:00+01:00"),
    ("completed_before", "9999-12-31T23:59:59-12:00"),
]


async def test_a_bad_filter_is_named(guest: Person, subtests: pytest.Subtests) -> None:
    for name, value in BAD_FILTERS:
        with subtests.test(name=name, value=value):
            answer = await guest.get("tasks", **{name: value})
            assert answer.status_code == 400
            assert [error["field"] for error in answer.json()["errors"]] == [name]


async def test_a_search_that_runs_out_of_time_says_how_far_it_got_and_goes_on_from_there(
    administrator: Person, guest: Person, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.execute(FILL, 400, guest.id)
    monkeypatch.setattr(search, "WHOLE_S", 0.0)
    # The scan is out of time after its first task, and then reads as many as a page has.
    left = iter([1e-9] + [0.0] * 99)
    with monkeypatch.context() as context:
        context.setattr(search.Budget, "left_s", property(lambda _: next(left)))
        page = (await administrator.get("tasks", name="sample.rare", limit=30)).json()
    assert (page["items"], page["complete"]) == ([], False)
    until = datetime.fromisoformat(page["searched_until"])
    assert 29 <= (datetime.now(UTC) - until).total_seconds() < 60
    assert await numbers(administrator, name="sample.rare", cursor=page["next_cursor"]) == [99, 199, 299, 399]
    assert await numbers(administrator, name="sample.rare", limit=3) == [99, 199, 299, 399]


async def test_a_scan_goes_on_behind_a_look_that_has_found_some(
    administrator: Person, guest: Person, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.execute(FILL, 100, guest.id)
    await database.execute(FAIL, 3)
    # Look and scan are out of time after their first task, and then read as many as a page has.
    monkeypatch.setattr(search, "LOOK_S", 30.0)
    monkeypatch.setattr(scan, "_IS_LATE", "{}::float8 > 0")
    assert await numbers(administrator, error="paper", limit=10) == list(range(3, 101, 3))


async def test_past_days_are_searched_in_ranges(
    administrator: Person, guest: Person, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.execute(FILL, 400, guest.id)
    monkeypatch.setattr(partitions, "floor_id", lambda _: LAST_ID)
    monkeypatch.setattr(search, "WHOLE_S", 0.0)
    monkeypatch.setattr(search, "FIRST_STRETCH", 30)
    monkeypatch.setattr(search, "GROWTH", 1)
    # The time is over after the second range.
    left = iter([1.0] * 8 + [0.0] * 99)
    with monkeypatch.context() as context:
        context.setattr(search.Budget, "left_s", property(lambda _: next(left)))
        page = (await administrator.get("tasks", name="sample.rare")).json()
    assert (page["items"], page["complete"]) == ([], False)
    until = datetime.fromisoformat(page["searched_until"])
    assert 59 <= (datetime.now(UTC) - until).total_seconds() < 90
    assert await numbers(administrator, name="sample.rare", limit=3) == [99, 199, 299, 399]


@pytest.mark.parametrize("filters", [{"name": "sample.rare"}, {"status": "failure", "name": "sample.rare"}])
async def test_a_search_without_time_still_progresses_with_each_page(
    filters: dict[str, str],
    administrator: Person,
    guest: Person,
    database: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await database.execute(FILL, 400, guest.id)
    await database.execute(FAIL, 99)
    monkeypatch.setattr(search.Budget, "left_s", 0.0)
    monkeypatch.setattr(search, "LOOK_S", 0.0)
    expected = [99] if "status" in filters else [99, 199, 299, 399]
    assert await numbers(administrator, **filters) == expected


@pytest.mark.parametrize("filters", [{"name": "sample.rare"}, {"status": "failure", "params.number": "396"}])
async def test_a_search_without_a_turn_answers_what_a_short_look_has_found(
    filters: dict[str, str],
    administrator: Person,
    guest: Person,
    database: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @asynccontextmanager
    async def only_a_look(_: Reads, *locks: asyncio.Lock) -> AsyncIterator[bool]:
        yield len(locks) == 1

    await database.execute(FILL, 400, guest.id)
    await database.execute(FAIL, 3)
    monkeypatch.setattr(Reads, "_turn", only_a_look)
    monkeypatch.setattr(search, "LOOK_S", 30.0)
    # A scan is out of time after its first task, and then reads as many as a page has.
    monkeypatch.setattr(scan, "_IS_LATE", "{}::float8 > 0")
    page = (await administrator.get("tasks", **filters)).json()
    assert (page["items"], page["complete"]) == ([], False)
    expected = [396] if "status" in filters else [99, 199, 299, 399]
    assert await numbers(administrator, **filters) == expected


async def test_a_search_that_gets_no_turn_for_its_look_does_not_wait_again(
    administrator: Person, guest: Person, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[int] = []

    @asynccontextmanager
    async def no_turn(_: Reads, *locks: asyncio.Lock) -> AsyncIterator[bool]:
        waits.append(len(locks))
        yield False

    await database.execute(FILL, 400, guest.id)
    monkeypatch.setattr(Reads, "_turn", no_turn)
    answer = await administrator.get("tasks", name="sample.rare", limit=1)
    assert (answer.status_code, waits) == (200, [1])


async def test_failures_are_searched_as_far_as_the_time_allows(
    administrator: Person, guest: Person, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.execute(FILL, 400, guest.id)
    await database.execute(FAIL, 3)
    wanted = {"status": "failure", "params.number": "399", "limit": 10}
    # The scan is out of time after the first failure, and then reads as many as a page has.
    left = iter([1e-9] + [0.0] * 99)
    with monkeypatch.context() as context:
        context.setattr(search.Budget, "left_s", property(lambda _: next(left)))
        page = (await administrator.get("tasks", **wanted)).json()
    assert (page["items"], page["complete"]) == ([], False)
    until = datetime.fromisoformat(page["searched_until"])
    assert 30 <= (datetime.now(UTC) - until).total_seconds() < 90
    assert await numbers(administrator, **wanted) == [399]


async def test_failures_are_read_first_and_in_their_order(guest: Person, database: Any) -> None:
    """Otherwise a scan would read all tasks, or sort all failures before it reads the first."""
    await database.execute(FILL, 5_000, guest.id)
    await database.execute(FAIL, 10)
    await database.execute("ANALYZE task, task_failure")
    wanted = TaskFilter(status=[Status.FAILURE], params={"number": ('{"number": 1}',)})
    found = scan.Scan(
        columns=[Task.id, Task.params],
        conditions=wanted.conditions,
        failures=wanted.failures(None),
        limit=51,
    )
    values = found.values(below=LAST_ID, floor=FIRST_ID, seconds=0.2)
    async with database.transaction():
        await database.execute(reads.SET, list(reads.SCANNED), list(reads.SCANNED.values()))
        plan = "\n".join(row[0] for row in await database.fetch(f"EXPLAIN {found.sql}", *values))
    assert "Sort" not in plan
    assert "Nested Loop" in plan
    assert plan.index(" on task_failure_p") < plan.index(" on task_p")


async def test_an_unfinished_task_among_many_is_found_by_its_place(
    administrator: Person, guest: Person, database: Any
) -> None:
    await database.execute(FILL, 100, guest.id)
    submitted = (await guest.post("tasks", {"name": "system.health_check", "params": {}})).json()["task_id"]
    for status in ("pending", ["pending", "retry", "started"]):
        page = (await administrator.get("tasks", status=status)).json()
        assert [item["id"] for item in page["items"]] == [submitted]
    worker = uuid4()
    await database.execute(
        "UPDATE task SET status = 'started', holder = $2, send_at = NULL, sent_at = NULL WHERE id = $1",
        UUID(submitted),
        worker,
    )
    page = (await administrator.get("tasks", status="started")).json()
    assert [item["id"] for item in page["items"]] == [submitted]
    assert json.dumps(page).count("traceback") == 1
