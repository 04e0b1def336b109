"""Tests of badly behaved task bodies: each attempt ends with an outcome that names the cause, and
other tasks continue.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence

import pytest

from local.ports import pick
from services.worker.claims.claim import Attempt
from services.worker.claims.fetcher import WAKE_TIMEOUT_S
from services.worker.claims.reconciler import Reconciler
from services.worker.recording import writer as writer_module
from services.worker.recording.record import Child, Entry, Written
from services.worker.running.broker import ClaimsConsumer
from services.worker.running.context import child_id
from services.worker.running.outcome import Outcome
from shared.contracts.checks import MAX_CHILDREN
from shared.contracts.contract import Contract
from shared.errors import ServerAway
from shared.ledger.database import Database
from shared.ledger.lifecycle import Status
from shared.vault import Stored
from tests.crew import Crew, StartCrew
from tests.eventually import eventually
from tests.hostile_tasks import (
    BLOCK,
    FIRST_CHILD,
    HOARD,
    LEAVE_LOOP,
    NEST,
    ODDITIES,
    OVERSTAY,
    RAISE,
    RAISE_ASYNC,
    WAIT_IN_LOOP,
    Hoards,
)
from tests.integration.worker.test_recorder import Worker
from tests.platform import Platform
from tests.sample_tasks import INSTANT, SPAWN, SPIN, WAIT, WAIT_ASYNC, Done, Fails, Nothing, Seconds, Spawns
from tests.unit.worker.attempts import message_of

#: Memory limit of the worker. Without a task, the sample worker needs about 130 MB.
MAX_MEMORY_MB = 400


@pytest.fixture(scope="module")
def crew(start_crew: StartCrew) -> Crew:
    """A worker, and a scheduler, which sends tasks that wait in Postgres.

    All tests share them, because no body may harm either.
    """
    return start_crew()


@pytest.fixture
async def working(crew: Crew) -> AsyncIterator[Platform]:
    async with crew.platform() as platform:
        yield platform


@pytest.mark.parametrize("contract", [RAISE, RAISE_ASYNC], ids=["plain", "async"])
async def test_whatever_a_body_raises_is_an_ordinary_failure(
    working: Platform, contract: Contract[Fails, Done]
) -> None:
    (neighbor,) = await working.submit(WAIT_ASYNC, Seconds(seconds=3))
    await working.until(neighbor, "started")
    ids = {kind: (await working.submit(contract, Fails(kind=kind, times=1)))[0] for kind in ODDITIES}
    for kind, task_id in ids.items():
        row = await working.until(task_id, "success", "failure")
        assert (row["status"], row["attempt"], row["failures"], row["interruptions"]) == ("success", 2, 1, 0)
        (first,) = await working.attempts(task_id)
        assert (first["outcome"], first["error_kind"]) == ("retry", "bug"), kind
        name = type(ODDITIES[kind]()).__name__
        assert first["error_message"].startswith(name)
        assert "raise ODDITIES[params.kind]()" in first["error_traceback"]
    row = await working.until(neighbor, "success")
    assert (row["attempt"], row["failures"]) == (1, 0)


@pytest.mark.parametrize("kind", ["exit", "keyboard"])
async def test_no_body_ends_the_event_loop_of_its_worker(working: Platform, kind: str) -> None:
    (neighbor,) = await working.submit(WAIT_ASYNC, Seconds(seconds=2))
    await working.until(neighbor, "started")
    (task_id,) = await working.submit(LEAVE_LOOP, Fails(kind=kind, times=1))
    row = await working.until(task_id, "success", "failure")
    assert (row["status"], row["attempt"], row["failures"]) == ("success", 2, 1)
    (first,) = await working.attempts(task_id)
    assert first["error_message"] == {"exit": "SystemExit: 3", "keyboard": "KeyboardInterrupt"}[kind]
    row = await working.until(neighbor, "success")
    assert (row["attempt"], row["worker"]) == (1, (await working.task(task_id))["worker"])


async def test_an_async_body_that_waits_for_its_own_loop_fails_without_delaying_others(
    working: Platform,
) -> None:
    (task_id,) = await working.submit(WAIT_IN_LOOP, Nothing())
    (neighbor,) = await working.submit(WAIT_ASYNC, Seconds(seconds=0.1))
    row = await working.until(task_id, "failure", timeout_s=10)
    assert row["error_message"] == (
        "RuntimeError: context.wait_for is for plain task bodies; in an async task body, await the coroutine"
    )
    await working.until(neighbor, "success")


async def test_a_result_nested_too_deeply_fails_at_once(working: Platform) -> None:
    (task_id,) = await working.submit(NEST, Nothing())
    row = await working.until(task_id, "failure")
    assert (row["attempt"], row["failures"], row["error_kind"]) == (1, 1, "unstorable")
    assert row["error_message"].endswith("result: must be nested at most 100 levels deep")


async def test_a_body_that_fills_the_memory_uses_up_its_attempts_and_its_neighbor_is_not_blamed(
    platform: Platform,
) -> None:
    await platform.start_scheduler()
    await platform.start_worker(OFTEN_WORKER_MAX_MEMORY_MB=str(MAX_MEMORY_MB), OFTEN_WORKER_GRACE="1")
    (neighbor,) = await platform.submit(WAIT, Seconds(seconds=8))
    await platform.until(neighbor, "started")
    (task_id,) = await platform.submit(HOARD, Hoards(megabytes=MAX_MEMORY_MB))

    row = await platform.until(task_id, "failure", timeout_s=90)

    assert (row["attempt"], row["failures"], row["error_kind"], row["crashes"]) == (3, 3, "memory", 0)
    assert row["error_message"].startswith("MemoryLimitExceeded: the worker grew by 4")
    assert "in hoard" in row["error_traceback"]
    assert {attempt["error_kind"] for attempt in await platform.attempts(task_id)} == {"memory"}
    row = await platform.until(neighbor, "success", timeout_s=60)
    assert row["interruptions"] >= 1
    assert (row["failures"], row["crashes"], row["suspect"]) == (0, 0, False)


async def test_a_rerun_returns_the_id_of_the_child_that_its_first_attempt_stored(
    working: Platform,
) -> None:
    (task_id,) = await working.submit(FIRST_CHILD, Nothing())
    row = await working.until(task_id, "success")
    assert row["attempt"] == 2
    children = await working.rows("SELECT id FROM task WHERE parent = {}", task_id)
    assert [str(child["id"]) for child in children] == [json.loads(row["result"])["id"]]
    await working.until(children[0]["id"], "success")


async def test_the_maximum_of_children_is_stored_and_one_more_is_refused(
    working: Platform,
) -> None:
    (many,) = await working.submit(SPAWN, Spawns(children=MAX_CHILDREN))
    (too_many,) = await working.submit(SPAWN, Spawns(children=MAX_CHILDREN + 1))
    await working.until(many, "success", timeout_s=60)
    row = await working.until(too_many, "failure")
    assert (row["error_kind"], row["attempt"]) == ("permanent", 1)
    assert f"one attempt may submit {MAX_CHILDREN} children" in row["error_message"]
    (counted,) = await working.rows("SELECT count(*) AS children FROM task WHERE parent = {}", many)
    assert counted["children"] == MAX_CHILDREN


async def test_a_transaction_left_open_after_complete_in_does_not_delay_others(platform: Platform) -> None:
    await platform.start_worker()
    lock = await platform.database.connect()
    await lock.execute("SELECT pg_advisory_lock(1)")
    (task_id,) = await platform.submit(OVERSTAY, Nothing())

    async def overstays() -> bool:
        waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 1 AND NOT granted"
        return bool(await platform.rows(waiting))

    await eventually(overstays)
    neighbors = await platform.submit(INSTANT, Nothing(), count=20)
    rows = await platform.all_final(neighbors, timeout_s=4)
    assert {row["status"] for row in rows} == {"success"}
    assert (await platform.task(task_id))["status"] != "success"
    await lock.close()
    row = await platform.until(task_id, "success")
    assert (row["attempt"], row["holder"]) == (1, None)
    await platform.all_acknowledged(row["worker"])


async def test_a_body_that_blocks_the_event_loop_is_named_with_its_stack(platform: Platform) -> None:
    port = pick("metrics")["metrics"]
    process = await platform.start_worker(OFTEN_METRICS_PORT=str(port))
    (task_id,) = await platform.submit(BLOCK, Seconds(seconds=2))
    await platform.until(task_id, "success")

    async def measured() -> bool:
        return (await platform.metrics(port)).get("often_event_loop_blocked_seconds_count[]") == 1

    await eventually(measured)
    seen = platform.log_of(process)
    assert "a task body has blocked the event loop" in seen
    assert f"body=sample.block {task_id} claim 1" in seen
    assert "time.sleep(params.seconds)" in seen
    assert 1 <= (await platform.metrics(port))["often_event_loop_blocked_seconds_sum[]"] < 10


def child(parent: Attempt, key: str, params: str = "{}") -> Child:
    """A child task as the recorder gets it.

    Its parameters were not checked, so Postgres may refuse them.
    """
    stored = Stored(params, None)
    return Child(child_id(parent.id, key), INSTANT, stored, 5, None, None, parent.id, key)


@pytest.fixture
async def played(platform: Platform) -> AsyncIterator[Worker]:
    """A simulated worker without threads. The test gives its recorder the records to write."""
    ledger = Database.for_recorder(platform.database_url, "test")
    await ledger.open(size=2)
    worker = Worker(platform, ledger)
    await worker.register()
    async with worker.recording.writing():
        yield worker
    await ledger.close()


async def test_children_stored_at_once_survive_a_record_that_postgres_refuses(played: Worker) -> None:
    await played.platform.submit(INSTANT, Nothing(), count=2)
    guilty, neighbor = await played.claim(2)
    for attempt in (guilty, neighbor):
        played.inbox.note_child(attempt, child(attempt, "a"))
        result = "{not json" if attempt is guilty else "{}"
        played.inbox.note_end(attempt, Outcome(Status.SUCCESS, result=Stored(result, None)))
    assert await played.recording.flush(10)
    rows = await played.platform.tasks([guilty.id, neighbor.id])
    assert [(row["status"], row["error_kind"]) for row in rows] == [
        ("failure", "unstorable"),
        ("success", None),
    ]
    for attempt in (guilty, neighbor):
        stored = await played.platform.task(child_id(attempt.id, "a"))
        assert (stored["parent"], stored["sent_at"] is not None) == (attempt.id, True)


@pytest.mark.parametrize("later", [False, True], ids=["with its parent's end", "before its parent's end"])
async def test_a_child_that_postgres_refuses_fails_its_parent_and_its_siblings_are_stored(
    played: Worker, later: bool
) -> None:
    await played.platform.submit(INSTANT, Nothing())
    (parent,) = await played.claim(1)
    for key in ("a", "b", "c", "d", "e"):
        played.inbox.note_child(parent, child(parent, key, "{not json" if key == "c" else "{}"))
    if later:
        assert await played.recording.flush(10)
    played.inbox.note_end(parent, Outcome(Status.SUCCESS, result=Stored("{}", None)))
    assert await played.recording.flush(10)
    row = await played.platform.task(parent.id)
    assert (row["status"], row["error_kind"]) == ("failure", "unstorable")
    assert row["error_message"].startswith("its record can't be stored: a child: invalid input syntax")
    stored = await played.platform.rows("SELECT id FROM task WHERE parent = {}", parent.id)
    assert {s["id"] for s in stored} == {child_id(parent.id, key) for key in ("a", "b", "d", "e")}


async def test_a_round_that_takes_too_long_is_split_until_it_fits(
    played: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await played.platform.submit(INSTANT, Nothing(), count=8)
    claimed = await played.claim(8)
    write = played.recording.writer._try
    sizes = []

    async def at_most_two(entries: Sequence[Entry]) -> Written:
        sizes.append(len(entries))
        if len(entries) > 2:
            raise ServerAway("Postgres", reason="the round took too long")
        return await write(entries)

    monkeypatch.setattr(played.recording.writer, "_try", at_most_two)
    monkeypatch.setattr(writer_module, "TOO_LONG_S", 0.0)
    for attempt in claimed:
        played.inbox.note_end(attempt, Outcome(Status.SUCCESS, result=Stored("{}", None)))
    assert await played.recording.flush(10)
    rows = await played.platform.tasks([attempt.id for attempt in claimed])
    assert {row["status"] for row in rows} == {"success"}
    assert sizes == [8, 4, 2, 2, 4, 2, 2]
    assert not played.recording.writer.blocked


async def test_records_with_many_children_are_written_after_those_of_their_neighbors(
    played: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await played.platform.submit(INSTANT, Nothing(), count=5)
    claimed = await played.claim(5)
    write = played.recording.writer._try
    rounds = []

    async def noted(entries: Sequence[Entry]) -> Written:
        rounds.append([claimed.index(entry.attempt) for entry in entries])
        return await write(entries)

    monkeypatch.setattr(played.recording.writer, "_try", noted)
    monkeypatch.setattr(writer_module, "MAX_CHILDREN_IN_STATEMENT", 1)
    for number, attempt in enumerate(claimed):
        if number in (1, 3):
            attempt.children += [child(attempt, "a"), child(attempt, "b")]
        played.inbox.note_end(attempt, Outcome(Status.SUCCESS, result=Stored("{}", None)))
    assert await played.recording.flush(10)
    assert rounds == [[0, 2, 4], [1], [3]]
    rows = await played.platform.tasks([attempt.id for attempt in claimed])
    assert {row["status"] for row in rows} == {"success"}


async def test_a_claim_whose_outcome_could_not_be_recorded_is_given_back(
    played: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    (task_id,) = await played.platform.submit(INSTANT, Nothing())
    await played.claim(1)
    attempt = played.claims.take(0)
    assert attempt is not None

    def deaf(_attempt: Attempt, _outcome: Outcome) -> None:
        raise RuntimeError("deaf")

    monkeypatch.setattr(played.inbox, "note_end", deaf)
    ClaimsConsumer(played.claims, played.inbox, timeout_s=0).ack(message_of(attempt))
    await Reconciler(played.id, played.claims, played.ledger, played.platform.queues).run_once()
    row = await played.platform.task(task_id)
    assert (row["holder"], row["status"], row["send_at"] is not None) == (None, "pending", True)
    assert await played.platform.queues.unacked(played.id) == set()


async def test_a_worker_whose_body_blocks_the_interpreter_leaves_new_work_to_others(
    platform: Platform,
) -> None:
    """A worker whose interpreter is blocked by a body must not claim new tasks.

    Otherwise it would claim some in a rare free moment and begin them only seconds later.
    """
    await platform.start_worker()
    await platform.start_worker()
    (busy,) = await platform.submit(SPIN, Seconds(seconds=30))

    async def is_claimed() -> bool:
        return (await platform.task(busy))["holder"] is not None

    # The row shows only the claim, because the body also keeps its start from being recorded.
    await eventually(is_claimed)
    # A fetch that began before the body may still wait for a task.
    await asyncio.sleep(WAKE_TIMEOUT_S)
    started = time.monotonic()
    waits = []
    while time.monotonic() < started + 5:
        # So many that some wait in Redis when the blocked worker has a free moment.
        ids = await platform.submit(INSTANT, Nothing(), count=200)
        asked = time.monotonic()
        await platform.all_final(ids)
        waits.append(time.monotonic() - asked)
    assert (await platform.task(busy))["completed_at"] is None, (
        "the body ended before the other tasks were counted"
    )
    assert max(waits) < 2, sorted(waits)[-5:]
