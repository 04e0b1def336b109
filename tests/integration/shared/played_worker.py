"""A worker for `test_interleavings` without threads and loops: the test calls each of its steps."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from dramatiq.broker import MessageProxy
from dramatiq.middleware import SkipMessage
from dramatiq.threading import Interrupt

from services.worker.claims.cancel_requests import CancelRequests
from services.worker.claims.claim import Attempt
from services.worker.claims.claims import Claims
from services.worker.claims.fetcher import Fetcher
from services.worker.claims.heartbeat import REGISTER, Heartbeat
from services.worker.claims.reconciler import HELD_IN_LEDGER, Reconciler
from services.worker.claims.served import Served
from services.worker.recording.record import Entry, Row, columns
from services.worker.running.broker import LedgerBroker
from services.worker.running.context import Context, Means
from services.worker.running.lifecycle import Lifecycle
from services.worker.running.outcome import Outcome
from services.worker.running.work_queue import PSEUDO_QUEUE, WorkQueue
from services.worker.workflows.starts import Starts
from shared.errors import PermanentError, Retry, ServerUnavailable, StaleClaim
from shared.ledger.database import Database
from shared.ledger.lifecycle import Status
from shared.ledger.protocol import PROTOCOL
from shared.ledger.transitions.record import RECORD
from shared.ledger.transitions.send import CLAIM, GIVE_BACK_FORGOTTEN
from shared.submission import Submitter
from shared.transport.queues import Queues
from tests.integration.shared.interleavings import QUEUE, VAULT, Ground
from tests.recording import Recording
from tests.sample_tasks import EFFECT, TASKS, Done


class Undone(Exception):
    """Raised inside a transaction to roll it back."""


@dataclass
class Body:
    """A task whose body is running in a simulated worker."""

    message: MessageProxy
    context: Context
    #: Whether the body's transaction with `complete_in` has been committed.
    completed: bool = False

    @property
    def attempt(self) -> Attempt:
        attempt: Attempt = self.message.args[0]
        return attempt

    @property
    def transactional(self) -> bool:
        """Whether the body writes its effect and its success in one transaction."""
        return self.attempt.name == EFFECT.name


#: Ways in which a body may end, by name: the exception that it raises, or None if it returns.
ENDS: dict[str, BaseException | None] = {
    "success": None,
    "retry at once": Retry("not yet", delay_s=0),
    "retry later": Retry("not now", delay_s=60),
    "failure": PermanentError("never"),
    "interrupted": Interrupt(),
}


class PlayedWorker:
    """A worker with all parts of the real process, except its threads and loops."""

    def __init__(self, ground: Ground) -> None:
        self.id = uuid4()
        #: Task ids that the worker has fetched from Redis but not claimed yet.
        self.fetched: list[UUID] = []
        #: Claims that only the ledger knew at the last reconciliation, by task id.
        self.forgotten: dict[UUID, int] = {}
        self.bodies: list[Body] = []
        self.lost_answer = False
        self._ground = ground
        self._served = 0
        self._database = ground.database
        self._queues = Queues(ground.queues.client)
        self.claims = Claims(8)
        self._recording = Recording(self.id, self.claims, self._database, self._queues)
        self.inbox = self._recording.inbox
        self._fetcher = Fetcher(
            self.id,
            Served([QUEUE]),
            TASKS,
            self.claims,
            self.inbox,
            self._database,
            self._queues,
            blocked=lambda: False,
            turned=lambda: None,
        )
        self._heartbeat = Heartbeat(
            self.id,
            self._database,
            [QUEUE],
            self.claims.threads,
            declared_dead=lambda: None,
            told=lambda paused, asked: None,
        )
        self._cancel_requests = CancelRequests(
            self.id, self.claims, self._database, self._queues, self._cancel
        )
        self._reconciler = Reconciler(self.id, self.claims, self._database, self._queues)
        self._lifecycle = Lifecycle(self.inbox, TASKS, self._database, VAULT)
        submitter = Submitter(self._database, self._queues, VAULT)
        starts = Starts(self._database, VAULT, submitter, ground.loop)
        self._means = Means(self.id, self.inbox, self._database, self._database, {}, VAULT, starts)
        self._broker = LedgerBroker(self.claims, self.inbox, [])
        self._consumer = self._broker.consume(PSEUDO_QUEUE, timeout=0)
        self._work_queue = WorkQueue(self.claims)

    async def register(self) -> None:
        # The worker does not take its advisory lock, because no step of these tests judges workers
        # by locks or heartbeats.
        await self._database.run(
            REGISTER,
            id=self.id,
            hostname="test",
            pid=1,
            queues=[QUEUE],
            threads=self.claims.threads,
            lock_key=self.id.int >> 66,
            protocol=PROTOCOL,
            release=None,
        )

    @property
    def free(self) -> bool:
        """Whether the worker has claimed all ids that it has fetched."""
        return not self.fetched

    @property
    def unsure(self) -> bool:
        """Whether the worker may own ids in Redis or claims in the ledger of which it does not
        know.
        """
        return self.lost_answer and self.free

    @property
    def waiting(self) -> bool:
        """Whether a task that the worker has claimed waits for a thread."""
        return self.claims.waiting > 0

    @property
    def has_something(self) -> bool:
        return bool(self.fetched or len(self.claims))

    @property
    def transactional(self) -> list[Body]:
        return [body for body in self.bodies if body.transactional]

    @property
    def noted(self) -> list[Entry]:
        """The records that the recorder will write in its next round."""
        return list(self.inbox._pending.values())

    async def fetch(self, wanted: int, *, answered: bool = True) -> None:
        fetched = await self._queues.fetch(
            self.id, [QUEUE], wanted=wanted, served=self._served, idle=not len(self.claims)
        )
        self.lost_answer |= not answered
        self.claims.note_fetched_again(fetched.ids if answered else None)
        if answered:
            self._served += len(fetched.ids)
            self.fetched = sorted(i for i in set(fetched.ids) if i not in self.claims)

    async def claim(self, *, redis: bool = True) -> None:
        """Claim the tasks of the fetched ids.

        If `redis` is False, Redis is unavailable, so no id can be acknowledged.
        """
        ids, self.fetched = self.fetched, []
        self.lost_answer |= not redis
        with self._redis_away(not redis):
            try:
                await self._fetcher._claim(ids)
            except ServerUnavailable:
                assert not redis

    async def take_in(self, wanted: int) -> None:
        """Fetch ids and claim their tasks."""
        await self._fetcher._fetch(wanted)

    async def claim_without_answer(self, ids: list[UUID], *, once: bool) -> None:
        """Claim the tasks without receiving the answer, so that only the ledger knows that the
        worker holds them.
        """
        self.lost_answer = True
        self.fetched = [] if once else self.fetched
        await self._database.run(CLAIM, worker=self.id, id=ids)

    def take(self) -> MessageProxy:
        """Take the first claimed task, as a thread of the worker does."""
        return self._work_queue.get(0).message

    async def begin(self, message: MessageProxy) -> None:
        """Begin a task's body. If the task is a suspect, its start is committed first."""
        attempt: Attempt = message.args[0]
        async with self._recording.writing() if attempt.claim.suspect else nullcontext():
            try:
                await asyncio.to_thread(self._lifecycle.before_process_message, self._broker, message)
            except SkipMessage:
                self._consumer.ack(message)
            else:
                context = Context(attempt, TASKS[attempt.name].contract, self._means)
                context.log.info("begun")
                self.bodies.append(Body(message, context))
            if attempt.claim.suspect:
                assert await self._recording.flush(30)

    async def complete(self, body: Body, *, commit: bool = True) -> bool:
        """Write the body's effect and success in one transaction.

        Returns whether it was committed. Raises StaleClaim if the worker's claim has ended.
        """
        try:
            async with body.context.transaction() as transaction:
                await self._database.run("INSERT INTO effect (task_id) VALUES ({})", body.attempt.id)
                await body.context.complete_in(transaction, Done(attempt=body.attempt.number))
                if not commit:
                    raise Undone
        except Undone:
            return False
        body.completed = True
        return True

    def end(self, body: Body, error: BaseException | None) -> Row:
        """End the body with this error, or with success.

        Returns a copy of the record that the recorder will write.
        """
        attempt = body.attempt
        if error is None:
            attempt.returned = Done(attempt=attempt.number)
        attempt.interrupt_pending = isinstance(error, Interrupt)
        self.bodies.remove(body)
        self._lifecycle.after_process_message(self._broker, body.message, exception=error)
        self._consumer.ack(body.message)
        (entry,) = [entry for entry in self.noted if entry.attempt is attempt]
        assert entry.row is not None
        return copy(entry.row)

    def give_back_unstarted(self) -> None:
        self._fetcher.give_back(self.claims.withdraw(), reason="late")

    async def write(self, *, redis: bool = True) -> None:
        """Let the recorder write once.

        If `redis` is False, Redis is unavailable, so the recorder acknowledges and pushes nothing.
        """
        self.lost_answer |= not redis
        with self._redis_away(not redis):
            async with self._recording.writing():
                assert await self._recording.flush(30)

    async def heartbeat(self) -> None:
        await self._heartbeat.beat()
        await self._cancel_requests.look_up()

    async def reconcile(self) -> None:
        held = await self._database.run(HELD_IN_LEDGER, worker=self.id)
        claims = {UUID(int=row["id"].int): row["claim"] for row in held}
        self.forgotten = {i: claim for i, claim in claims.items() if i not in self.claims}
        await self._reconciler.run_once()
        self.lost_answer = False

    async def give_back_forgotten(self) -> None:
        """Send the statement again by which the last reconciliation gave back claims unknown to the
        worker.
        """
        ids, claims = list(self.forgotten), list(self.forgotten.values())
        await self._database.run(GIVE_BACK_FORGOTTEN, id=ids, claim=claims, worker=self.id)

    async def work_off(self) -> None:
        """Run all tasks that the worker holds or can get, and let them succeed."""
        if self.fetched:
            await self.claim()
        await self.reconcile()
        for _ in range(50):
            while self.waiting:
                await self.begin(self.take())
            for body in list(self.bodies):
                self.end(body, await self._run_out(body))
            await self.write()
            await self.fetch(8)
            if not self.fetched:
                return
            await self.claim()
        raise AssertionError("the worker's lanes did not become empty")

    async def _run_out(self, body: Body) -> BaseException | None:
        if body.transactional and not body.completed:
            try:
                await self.complete(body)
            except StaleClaim as stale:
                return stale
        return None

    def _cancel(self, task_id: UUID, requested_at: datetime | None) -> None:
        unstarted = self.claims.cancel(task_id, requested_at)
        if unstarted is not None:
            self.inbox.note_end(unstarted, Outcome(Status.REVOKED, failures=unstarted.claim.failures))

    @contextmanager
    def _redis_away(self, away: bool) -> Iterator[None]:
        if away:
            self._queues.client = self._ground.no_queues.client
        try:
            yield
        finally:
            self._queues.client = self._ground.queues.client


async def record(database: Database, worker: UUID, row: Row) -> bool:
    """Write a single record, as a delayed try of the recorder, or one whose answer was lost, would
    do.

    Returns whether it was accepted.
    """
    return bool(await database.run(RECORD, **columns([row]), worker=worker))
