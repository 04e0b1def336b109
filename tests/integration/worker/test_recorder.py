"""Tests of the recorder with real Postgres and Valkey, and with the claims of a simulated
worker.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import nullcontext
from uuid import UUID, uuid4

import pytest
from prometheus_client import REGISTRY

from services.worker.claims.claim import Attempt, Claim
from services.worker.claims.claims import Claims
from services.worker.claims.fetcher import Fetcher
from services.worker.claims.served import Served
from services.worker.recording import inbox as inbox_module
from services.worker.recording.record import LogLine
from services.worker.running.outcome import Failure, Outcome
from shared.errors import ServerUnavailable
from shared.ledger.database import Database
from shared.ledger.lifecycle import ErrorKind, Status
from shared.ledger.transitions.operate import CANCEL
from shared.ledger.transitions.record import COMPLETE
from shared.ledger.transitions.send import CLAIM
from shared.transport.queues import Address, Queues, connect
from shared.vault import Stored
from tests.eventually import eventually
from tests.platform import Platform
from tests.recording import Recording
from tests.sample_tasks import INSTANT, Nothing


class Worker:
    """A simulated worker without threads.

    It claims tasks, and gives their outcomes to its recorder.
    """

    def __init__(self, platform: Platform, ledger: Database) -> None:
        self.id = uuid4()
        self.platform = platform
        self.ledger = ledger
        self.claims = Claims(8)
        self.recording = Recording(self.id, self.claims, ledger, platform.queues)
        self.inbox = self.recording.inbox

    async def register(self) -> None:
        sql = """
            INSERT INTO worker (id, hostname, pid, queues, threads, lock_key)
            VALUES ({}, 'test', 1, {}, 8, {})
        """
        await self.ledger.run(sql, self.id, ["default"], self.id.int >> 66)

    async def claim(self, count: int) -> list[Attempt]:
        await self.platform.queues.fetch(self.id, ["default"], wanted=count, served=0, idle=False)
        ids = sorted(await self.platform.queues.unacked(self.id))
        rows = await self.ledger.run(CLAIM, worker=self.id, id=ids)
        claimed = sorted((Attempt.of(Claim.from_row(row)) for row in rows), key=lambda attempt: attempt.id)
        self.claims.add(claimed)
        return claimed


@pytest.fixture
async def worker(platform: Platform) -> AsyncIterator[Worker]:
    ledger = Database.for_recorder(platform.database_url, "test")
    await ledger.open(size=2)
    played = Worker(platform, ledger)
    await played.register()
    async with played.recording.writing():
        yield played
    await ledger.close()


def success(result: str = '{"attempt": 1}') -> Outcome:
    return Outcome(Status.SUCCESS, result=Stored(result, None))


async def test_a_start_waits_only_a_moment_to_be_written_with_its_end(worker: Worker) -> None:
    short, long = await worker.platform.submit(INSTANT, Nothing(), count=2)
    for attempt in await worker.claim(2):
        attempt.started_at = attempt.claim.claimed_at
        worker.inbox.note_start(attempt)
        await asyncio.sleep(0.001)
        if attempt.id == short:
            worker.inbox.note_end(attempt, success())
            assert await worker.recording.flush(10)
    assert (await worker.platform.task(short))["revision"] == 1
    assert (await worker.platform.until(long, "started"))["completed_at"] is None


@pytest.mark.parametrize("hurried_by", ["a full round", "a suspect's start"])
async def test_a_round_waits_for_a_full_batch_unless_a_caller_waits(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, hurried_by: str
) -> None:
    full = inbox_module.BATCH_ROWS
    await worker.platform.submit(INSTANT, Nothing(), count=2 * full)
    claimed = await worker.claim(2 * full)
    monkeypatch.setattr(inbox_module, "MAX_WAIT_S", 3_600.0)
    monkeypatch.setattr(inbox_module, "WAIT_PER_ROW_S", 3_600.0)
    for attempt in claimed[:full]:
        worker.inbox.note_end(attempt, success())
    await eventually(lambda: len(worker.claims) == full)
    for attempt in claimed[full:-1]:
        worker.inbox.note_end(attempt, success())
    await asyncio.sleep(0.1)
    assert len(worker.claims) == full, "the round did not wait for a full batch"
    last = claimed[-1]
    if hurried_by == "a full round":
        worker.inbox.note_end(last, success())
        await eventually(lambda: len(worker.claims) == 0)
    else:
        last.started_at = last.claim.claimed_at
        committed = asyncio.wrap_future(worker.inbox.note_committed_start(last))
        assert await asyncio.wait_for(committed, 30)


async def test_an_outcome_is_acknowledged_only_after_it_is_committed(worker: Worker) -> None:
    (task_id,) = await worker.platform.submit(INSTANT, Nothing())
    (attempt,) = await worker.claim(1)
    assert await worker.platform.queues.unacked(worker.id) == {task_id}
    worker.inbox.note_end(attempt, success())
    assert await worker.recording.flush(10)
    assert (await worker.platform.task(task_id))["status"] == "success"
    assert await worker.platform.queues.unacked(worker.id) == set()
    assert len(worker.claims) == 0


async def test_a_record_that_postgres_refuses_affects_only_its_own_task(worker: Worker) -> None:
    ids = await worker.platform.submit(INSTANT, Nothing(), count=9)
    claimed = await worker.claim(9)
    for number, attempt in enumerate(claimed):
        worker.inbox.note_end(attempt, success("{not json" if number == 4 else "{}"))
    assert await worker.recording.flush(10)
    rows = await worker.platform.tasks(ids)
    assert [row["status"] for row in rows] == ["success"] * 4 + ["failure"] + ["success"] * 4
    assert rows[4]["error_kind"] == "unstorable"
    assert "can't be stored" in rows[4]["error_message"]


async def test_records_of_an_older_claim_are_not_written(worker: Worker) -> None:
    (task_id,) = await worker.platform.submit(INSTANT, Nothing())
    (stale,) = await worker.claim(1)
    other = UUID(int=1)
    await worker.ledger.run("UPDATE task SET claim = claim + 1, holder = {} WHERE id = {}", other, task_id)
    worker.inbox.note_start(stale)
    worker.inbox.note_progress(stale, 50, None, "stale")
    worker.inbox.note_end(stale, success())
    assert await worker.recording.flush(10)
    row = await worker.platform.task(task_id)
    assert (row["status"], row["holder"], row["claim"]) == ("pending", other, 2)
    assert (row["progress_current"], row["result"]) == (0, None)


async def test_a_record_written_twice_changes_nothing_the_second_time(worker: Worker) -> None:
    (task_id,) = await worker.platform.submit(INSTANT, Nothing())
    (attempt,) = await worker.claim(1)
    worker.inbox.note_end(attempt, Outcome(Status.RETRY, wait_s=60, failures=1))
    assert await worker.recording.flush(10)
    before = await worker.platform.task(task_id)
    # The recorder writes the same record again, as it does after a commit whose answer was lost.
    worker.inbox.note_end(attempt, Outcome(Status.RETRY, wait_s=60, failures=1))
    assert await worker.recording.flush(10)
    assert await worker.platform.task(task_id) == before


async def test_several_records_of_one_task_become_one_write(worker: Worker) -> None:
    (task_id,) = await worker.platform.submit(INSTANT, Nothing())
    (attempt,) = await worker.claim(1)
    attempt.number = 1
    attempt.started_at = attempt.claim.ready_at
    worker.inbox.note_start(attempt)
    for step in range(50):
        worker.inbox.note_progress(attempt, step, 50, f"step {step}")
    worker.inbox.note_end(attempt, success())
    assert await worker.recording.flush(10)
    row = await worker.platform.task(task_id)
    assert (row["revision"], row["attempt"], row["progress_current"]) == (1, 1, 50)
    assert row["progress_message"] == "step 49"


async def test_a_connection_lost_in_a_transaction_does_not_stop_the_recorder(worker: Worker) -> None:
    (task_id,) = await worker.platform.submit(INSTANT, Nothing())
    (attempt,) = await worker.claim(1)
    waiting = (
        "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    blocker = await worker.ledger.connect()
    async with blocker.transaction():
        await blocker.execute("LOCK TABLE task IN ACCESS EXCLUSIVE MODE")
        # A log line makes the recorder use a transaction of several statements.
        worker.inbox.note_log(attempt, LogLine(task_id, 1, 0, attempt.claim.claimed_at, "info", "half way"))
        worker.inbox.note_end(attempt, success())
        ((stuck,),) = [row.values() for row in await eventually(lambda: worker.platform.rows(waiting))]
        await worker.platform.rows("SELECT pg_terminate_backend({})", stuck)
    await blocker.close()

    assert await worker.recording.flush(30)
    assert (await worker.platform.task(task_id))["status"] == "success"
    (line,) = await worker.platform.rows("SELECT message FROM task_log")
    assert line["message"] == "half way"


@pytest.mark.parametrize("answered", [True, False])
async def test_an_id_fetched_again_before_its_end_was_settled_is_sent_again(
    worker: Worker, answered: bool
) -> None:
    (task_id,) = await worker.platform.submit(INSTANT, Nothing())
    (attempt,) = await worker.claim(1)
    # Make it look as if the record had been committed although no answer came, and as if the
    # dispatcher had then sent the task again, all before the recorder retries.
    await worker.ledger.run("UPDATE task SET holder = NULL, sent_at = now() WHERE id = {}", task_id)
    await worker.platform.queues.push([Address(task_id, "default", 5)])
    queues = worker.platform.queues if answered else Queues(connect("redis://127.0.0.1:1"))
    if not answered:
        await worker.platform.queues.fetch(worker.id, ["default"], wanted=8, served=0, idle=False)
    fetcher = Fetcher(
        worker.id,
        Served(["default"]),
        {},
        worker.claims,
        worker.inbox,
        worker.ledger,
        queues,
        blocked=lambda: False,
        turned=lambda: None,
    )
    with nullcontext() if answered else pytest.raises(ServerUnavailable):
        await fetcher._fetch(8)

    worker.inbox.note_end(attempt, Outcome(Status.PENDING, wait_s=0.0))
    assert await worker.recording.flush(10)

    row = await worker.platform.task(task_id)
    assert (row["sent_at"], row["send_at"] is not None) == (None, True)


async def test_a_task_that_the_same_worker_claims_again_at_once_stays_with_it(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that claims its own task again must learn of the new claim.

    Otherwise the next reconciliation would give the task back, and it would run twice.
    """
    await worker.platform.submit(INSTANT, Nothing())
    (attempt,) = await worker.claim(1)
    push, claimed = worker.platform.queues.push, []

    async def claimed_again(addresses: Iterable[Address]) -> None:
        await push(addresses)
        claimed.extend(await worker.claim(1))

    monkeypatch.setattr(worker.platform.queues, "push", claimed_again)
    worker.inbox.note_end(attempt, Outcome(Status.PENDING, wait_s=0.0))
    assert await worker.recording.flush(10)
    assert [again.claim.number for again in claimed] == [2]
    assert worker.claims.ids() == {attempt.id}


async def test_the_record_of_a_task_ended_by_complete_in_is_not_stale(worker: Worker) -> None:
    (task_id,) = await worker.platform.submit(INSTANT, Nothing())
    (attempt,) = await worker.claim(1)
    refused = REGISTRY.get_sample_value("often_recorder_rows_total", {"verdict": "refused"}) or 0
    assert await worker.ledger.run(
        COMPLETE,
        id=task_id,
        claim=attempt.claim.number,
        worker=worker.id,
        attempt=1,
        started_at=attempt.claim.claimed_at,
        ended_at=attempt.claim.claimed_at,
        execution_s=0.0,
        result="{}",
        key_id=None,
        trace_context=None,
    )
    # The recorder gets the start of the task only after its end was written.
    worker.inbox.note_start(attempt)
    assert await worker.recording.flush(10)
    assert (REGISTRY.get_sample_value("often_recorder_rows_total", {"verdict": "refused"}) or 0) == refused


async def test_a_task_that_fails_after_a_cancel_request_is_not_retried(worker: Worker) -> None:
    (task_id,) = await worker.platform.submit(INSTANT, Nothing())
    (attempt,) = await worker.claim(1)
    attempt.number, attempt.started_at = 1, attempt.claim.claimed_at
    await worker.ledger.run(CANCEL, id=task_id)
    failure = Failure(ErrorKind.EXPECTED, "refused")
    worker.inbox.note_end(attempt, Outcome(Status.RETRY, wait_s=60, failures=1, failure=failure))
    assert await worker.recording.flush(10)
    row = await worker.platform.task(task_id)
    assert (row["status"], row["send_at"], row["error_message"]) == ("revoked", None, "refused")
    assert row["completed_at"] is not None
    assert not await worker.platform.attempts(task_id)
