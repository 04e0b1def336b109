"""A worker of `test_interleavings` that does as it is told."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from uuid import UUID, uuid4

from dramatiq.broker import MessageProxy
from dramatiq.middleware import SkipMessage
from dramatiq.threading import Interrupt

from services.worker.claims.fetcher import Intake
from services.worker.claims.heartbeat import GIVE_BACK_FORGOTTEN, HELD_IN_LEDGER, REGISTER, Presence
from services.worker.claims.holdings import Holding, Holdings
from services.worker.clock import DatabaseClock
from services.worker.recording.record import Entry, Row, columns
from services.worker.recording.recorder import Recorder
from services.worker.running.broker import LedgerBroker
from services.worker.running.context import Context
from services.worker.running.lifecycle import Lifecycle
from services.worker.running.outcome import Outcome
from services.worker.running.work_queue import PSEUDO_QUEUE, WorkQueue
from shared.errors import PermanentError, Retry, ServerUnavailable, StaleClaim
from shared.keeper import Keeper
from shared.ledger import engine, statements
from shared.ledger.engine import RECORDER
from shared.ledger.lifecycle import Status
from shared.transport.queues import Queues
from tests.integration.shared.interleavings import QUEUE, VAULT, Ground
from tests.sample_tasks import EFFECT, TASKS, Done


class Undone(Exception):
    """A transaction is rolled back."""


@dataclass
class Body:
    """A task whose body runs."""

    message: MessageProxy
    context: Context
    #: Its `complete_in` is committed.
    completed: bool = False

    @property
    def holding(self) -> Holding:
        holding: Holding = self.message.args[0]
        return holding

    @property
    def transactional(self) -> bool:
        """It writes an effect in one transaction with its success."""
        return self.holding.name == EFFECT.name


#: How a body may end; None: it returns.
ENDS: dict[str, BaseException | None] = {
    "success": None,
    "retry at once": Retry("not yet", delay_s=0),
    "retry later": Retry("not now", delay_s=60),
    "failure": PermanentError("never"),
    "interrupted": Interrupt(),
}


class PlayedWorker:
    """All parts of a worker process but its threads and loops."""

    def __init__(self, ground: Ground) -> None:
        self.id = uuid4()
        #: Ids on their way from Redis to the claim.
        self.fetched: list[UUID] = []
        #: Claims that it held in the ledger only when it compared last.
        self.forgotten: dict[UUID, int] = {}
        self.bodies: list[Body] = []
        self.lost_answer = False
        self._ground = ground
        self._served = 0
        self._clock = DatabaseClock()
        self._queues = Queues(ground.queues.client)
        self.holdings = Holdings(8)
        self.recorder = Recorder(self.id, self.holdings, self._queues, self._clock)
        self._intake = Intake(self.id, [QUEUE], TASKS, self.holdings, self.recorder, self._queues)
        self._presence = Presence(
            self.id,
            ground.database_url,
            [QUEUE],
            self.holdings,
            self._queues,
            self._clock,
            declared_dead=lambda: None,
            revoke=self._revoke,
        )
        self._lifecycle = Lifecycle(self.recorder, TASKS, self._clock, VAULT)
        self._broker = LedgerBroker(self.holdings, self.recorder, [])
        self._consumer = self._broker.consume(PSEUDO_QUEUE, timeout=0)
        self._work_queue = WorkQueue(self.holdings)

    async def _keep_writing(self) -> None:
        await Keeper().keep("recorder", self.recorder.run_once)

    async def register(self) -> None:
        # Its lock is never taken: nobody here judges by locks and heartbeats.
        await engine.run(REGISTER, self.id, "test", 1, [QUEUE], self.holdings.threads, self.id.int >> 66)

    @property
    def free(self) -> bool:
        """Nothing is on its way from Redis to the claim."""
        return not self.fetched

    @property
    def unsure(self) -> bool:
        """It may have, in Redis or in the ledger, what it does not know of."""
        return self.lost_answer and self.free

    @property
    def waiting(self) -> bool:
        """Something in its heap waits for a thread."""
        return self.holdings.waiting > 0

    @property
    def has_something(self) -> bool:
        return bool(self.fetched or len(self.holdings))

    @property
    def transactional(self) -> list[Body]:
        return [body for body in self.bodies if body.transactional]

    @property
    def noted(self) -> list[Entry]:
        """What its recorder writes next."""
        return list(self.recorder._pending.values())

    async def fetch(self, wanted: int, *, answered: bool = True) -> None:
        fetched = await self._queues.fetch(
            self.id, [QUEUE], wanted=wanted, served=self._served, idle=not len(self.holdings)
        )
        self.lost_answer |= not answered
        self.holdings.note_fetched_again(fetched.ids if answered else None)
        if answered:
            self._served += len(fetched.ids)
            self.fetched = sorted(i for i in set(fetched.ids) if i not in self.holdings)

    async def claim(self, *, redis: bool = True) -> None:
        """Without Redis nothing is acknowledged."""
        ids, self.fetched = self.fetched, []
        self.lost_answer |= not redis
        with self._redis_away(not redis):
            try:
                await self._intake._claim(ids)
            except ServerUnavailable:
                assert not redis

    async def take_in(self, wanted: int) -> None:
        """Fetch and claim."""
        await self._intake._fetch(wanted)

    async def claim_without_answer(self, ids: list[UUID], *, once: bool) -> None:
        """It stands in the ledger only."""
        self.lost_answer = True
        self.fetched = [] if once else self.fetched
        await engine.run(statements.CLAIM, self.id, ids, node=RECORDER)

    def take(self) -> MessageProxy:
        """A thread takes the first of the heap."""
        return self._work_queue.get(0).message

    async def begin(self, message: MessageProxy) -> None:
        """The start of a suspect is committed before its body runs."""
        holding: Holding = message.args[0]
        writing = asyncio.create_task(self._keep_writing()) if holding.suspect else None
        try:
            await asyncio.to_thread(self._lifecycle.before_process_message, self._broker, message)
        except SkipMessage:
            self._consumer.ack(message)
        else:
            contract = TASKS[holding.name].contract
            context = Context(holding, contract, self.recorder, {}, self._clock, VAULT)
            context.log.info("begun")
            self.bodies.append(Body(message, context))
        if writing is not None:
            await self._flushed(writing)

    async def complete(self, body: Body, *, commit: bool = True) -> bool:
        """Effect and success in one transaction; False when it was rolled back. Raises StaleClaim."""
        try:
            async with body.context.transaction() as transaction:
                await engine.run("INSERT INTO effect (task_id) VALUES ({})", body.holding.id)
                await body.context.complete_in(transaction, Done(attempt=body.holding.attempt))
                if not commit:
                    raise Undone
        except Undone:
            return False
        body.completed = True
        return True

    def end(self, body: Body, error: BaseException | None) -> Row:
        """The body ends; returns what the recorder will write."""
        holding = body.holding
        if error is None:
            holding.returned = Done(attempt=holding.attempt)
        self.bodies.remove(body)
        self._lifecycle.after_process_message(self._broker, body.message, exception=error)
        self._consumer.ack(body.message)
        (entry,) = [entry for entry in self.noted if entry.holding is holding]
        assert entry.row is not None
        return copy(entry.row)

    def give_back_unstarted(self) -> None:
        self._intake.give_back(self.holdings.withdraw(), reason="late")

    async def write(self, *, redis: bool = True) -> None:
        """One round of the recorder; without Redis nothing is acknowledged or pushed."""
        self.lost_answer |= not redis
        with self._redis_away(not redis):
            await self._flushed(asyncio.create_task(self._keep_writing()))

    async def heartbeat(self) -> None:
        await self._presence._beat()

    async def reconcile(self) -> None:
        held = await engine.run(HELD_IN_LEDGER, self.id, node=RECORDER)
        claims = {UUID(int=row["id"].int): row["claim"] for row in held}
        self.forgotten = {i: claim for i, claim in claims.items() if i not in self.holdings}
        await self._presence.reconcile()
        self.lost_answer = False

    async def give_back_forgotten(self) -> None:
        """What the last reconcile gave back, once more."""
        ids, claims = list(self.forgotten), list(self.forgotten.values())
        await engine.run(GIVE_BACK_FORGOTTEN, ids, claims, self.id, node=RECORDER)

    async def work_off(self) -> None:
        """Do everything that it holds or can get, well."""
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
        raise AssertionError("its lanes never become empty")

    async def _run_out(self, body: Body) -> BaseException | None:
        if body.transactional and not body.completed:
            try:
                await self.complete(body)
            except StaleClaim as stale:
                return stale
        return None

    async def _flushed(self, writing: asyncio.Task[None]) -> None:
        assert await self.recorder.flush(30)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)

    def _revoke(self, holding: Holding) -> None:
        self.recorder.note_end(holding, Outcome(Status.REVOKED, failures=holding.failures))

    @contextmanager
    def _redis_away(self, away: bool) -> Iterator[None]:
        if away:
            self._queues.client = self._ground.no_queues.client
        try:
            yield
        finally:
            self._queues.client = self._ground.queues.client


async def record(worker: UUID, row: Row) -> bool:
    """One record by itself, as it comes late or leaves its worker without an answer; True when it counted."""
    return bool(await engine.run(statements.RECORD, *columns([row]), worker, worker, node=RECORDER))
