"""The simulated workers of `test_interleavings`.

For each step of a worker, this module checks which rows of the ledger it may change, and which it
must change.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from hypothesis import note

from services.scheduler.rescuer import DECLARE_DEAD
from services.worker.claims.claim import Attempt
from services.worker.recording.record import Row
from shared.errors import StaleClaim
from tests.integration.shared.interleavings import Ground, Witness, verdicts
from tests.integration.shared.played_worker import ENDS, Body, PlayedWorker, record

T = TypeVar("T")

WORKERS, MAX_GHOSTS = 2, 2

Step = Callable[..., None]


@dataclass(frozen=True)
class Drawn:
    """Values that hypothesis draws for a step without knowing the state of the servers.

    Each step uses them as it needs.
    """

    who: int
    step: int
    worker: int
    item: int
    how: str
    fine: bool

    def one(self, able: Sequence[T]) -> T:
        return able[self.item % len(able)]

    def do_one(self, steps: Sequence[tuple[Step, Any]], *arguments: Any) -> None:
        """Run one of these steps, chosen by the drawn values among those whose condition holds."""
        able = [step for step, condition in steps if condition]
        if able:
            step = able[self.step % len(able)]
            note(f"# {step.__name__.strip('_')}")
            step(*arguments, self)


#: Values for a step that runs as part of another one, so that nothing is drawn for it. With them,
#: everything succeeds.
FINE = Drawn(0, 0, 0, 0, "success", True)


class Crew:
    """The live workers, and some workers that were declared dead but go on working because they do
    not know it.
    """

    def __init__(self, ground: Ground, ledger: Witness) -> None:
        self.ground = ground
        self.ledger = ledger
        self.workers = [self._new_worker() for _ in range(WORKERS)]
        self.ghosts: list[PlayedWorker] = []
        self.to_rescue = False
        #: Copies of records that a recorder will write, too, each with the worker's id. The newest
        #: comes first.
        self.delayed: list[tuple[UUID, Row]] = []
        #: Attempts, by task id and number, that stay without a record, because their own worker
        #: claimed the task again while they ran.
        self.overtaken: set[tuple[UUID, int]] = set()

    def _new_worker(self) -> PlayedWorker:
        worker = PlayedWorker(self.ground)
        self.ground.run(worker.register())
        return worker

    @property
    def has_something(self) -> bool:
        return any(worker.has_something for worker in self.workers)

    @property
    def has_fetched(self) -> bool:
        return any(worker.fetched for worker in self.workers)

    def a_worker_goes_on(self, drawn: Drawn) -> None:
        able = [*self.workers, *self.ghosts]
        worker = able[drawn.worker % len(able)]
        cancelled = self.ledger.where(lambda row: row["holder"] == worker.id and row["cancel_requested_at"])
        steps = (
            (self._fetch, worker.free and self.ledger.in_lanes),
            (self._claim, worker.fetched),
            (self._claim_without_answer, worker.has_something),
            (self._begin, worker.waiting),
            (self._give_back_unstarted, worker.waiting),
            # Listed twice, so that it is drawn twice as often: it is the only step that writes an
            # outcome without the recorder.
            (self._complete_or_not, worker.transactional),
            (self._complete_or_not, worker.transactional),
            (self._end, worker.bodies),
            (self._write, worker.noted),
            (self._heartbeat, cancelled),
            (self._reconcile, worker.unsure),
            (self._give_back_forgotten, worker.forgotten),
        )
        drawn.do_one(steps, worker)

    def a_worker_works(self, drawn: Drawn) -> None:
        """Let a worker run many steps without interruption: from fetching ids up to the end of its
        tasks, or to a random point before that.
        """
        worker, depth = self.workers[drawn.worker % len(self.workers)], drawn.step % 6
        if worker.fetched:
            self._claim(worker)
        elif self.ledger.in_lanes:
            self._take_in(worker)
        while worker.waiting and depth > 0:
            self._begin(worker)
        for body in list(worker.bodies) if depth > 2 else ():
            self._end_body(worker, body, ENDS[drawn.how])
        if worker.noted and depth in (2, 4, 5):
            self._write(worker)

    def declare_dead(self, drawn: Drawn) -> None:
        """Declare a worker dead, perhaps wrongly.

        It goes on working for a while, beside the worker that replaces it.
        """
        having = [worker for worker in self.workers if worker.has_something]
        worker = drawn.one([worker for worker in having if worker.fetched] or having)
        self.ledger.step(self.ground.database.run(DECLARE_DEAD, workers=[worker.id]))
        self.ledger.dead.add(worker.id)
        self.to_rescue = True
        self.ghosts = [*self.ghosts, worker][-MAX_GHOSTS:]
        self.workers[self.workers.index(worker)] = self._new_worker()

    def write_delayed(self, drawn: Drawn) -> None:
        """Write a copy of a record late.

        If the recorder has not written the record yet, the copy acts as a first try whose answer
        was lost. Otherwise it acts as a delayed try.
        """
        overtaken = [(w, row) for w, row in self.delayed if self._overtaken(w, row.id, row.claim)]
        worker, row = drawn.one(overtaken if overtaken and drawn.fine else self.delayed[:6])
        owns = self.ledger.owns(worker, row.id, row.claim)
        if self._overtaken(worker, row.id, row.claim):
            self.ground.happened["an old record of the holder"] += 1
        if (row.id, row.claim) in self.ledger.ended and self.ledger.rows[row.id]["claim"] == row.claim:
            self.ground.happened["a record after the end"] += 1
        assert self.ledger.step(record(self.ground.database, worker, row), {row.id} if owns else ()) == owns
        if owns:
            self._check_written(row)
        self.ledger.remember_ends(worker)

    def _overtaken(self, worker: UUID, task_id: UUID, claim: int) -> bool:
        """Whether this worker has claimed the task again since.

        Then only the number tells its old claim from the new one.
        """
        row = self.ledger.rows[task_id]
        return bool(row["holder"] == worker and row["claim"] != claim)

    def _fetch(self, worker: PlayedWorker, drawn: Drawn) -> None:
        self.ledger.step(worker.fetch(drawn.item % 4 + 1, answered=drawn.fine))

    def _claim(self, worker: PlayedWorker, drawn: Drawn = FINE) -> None:
        ids = set(worker.fetched)
        if worker.id in self.ledger.dead:
            free = self.ledger.where(lambda row: row["send_at"] or row["sent_at"])
            self.ground.happened["a claim by a dead worker"] += len(ids & free)
            ids &= free
            self.ledger.step(worker.claim(redis=drawn.fine), ids)
            assert all(self.ledger.rows[task_id]["send_at"] for task_id in ids)
            return
        sure = ids & self.ledger.where(lambda row: row["sent_at"] or row["holder"] == worker.id)
        self.ledger.step(worker.claim(redis=drawn.fine), ids)
        for task_id in sure:
            before, now = self.ledger.before[task_id], self.ledger.rows[task_id]
            # If the worker holds the task already, it has claimed it before and the answer was
            # lost. Then the claim keeps its number.
            assert now["claim"] == before["claim"] + (before["holder"] != worker.id)
        assert worker.claims.ids() >= sure

    def _take_in(self, worker: PlayedWorker) -> None:
        """Let a worker fetch ids and claim their tasks.

        Tasks of which it knows that it holds them must not change.
        """
        held = self.ledger.where(lambda row: row["holder"] == worker.id) - worker.claims.ids()
        free = self.ledger.where(lambda row: row["send_at"] or row["sent_at"])
        self.ledger.step(worker.take_in(8), free | held)

    def _claim_without_answer(self, worker: PlayedWorker, drawn: Drawn) -> None:
        """Send a claim whose answer is lost.

        It may be the first of several tries, the only one, or a delayed one.
        """
        ids = worker.fetched or sorted(worker.claims.ids())
        claim = worker.claim_without_answer(ids, once=drawn.fine)
        self.ledger.step(claim, () if worker.id in self.ledger.dead else ids)
        for task_id, old in self.ledger.before.items():
            if old["status"] == "started" and self.ledger.rows[task_id]["claim"] > old["claim"]:
                self.overtaken.add((task_id, old["attempt"]))

    def _begin(self, worker: PlayedWorker, drawn: Drawn = FINE) -> None:
        message = worker.take()
        attempt: Attempt = message.args[0]
        if attempt.claim.suspect and worker.noted:
            self._write(worker)
        owns = attempt.claim.suspect and self.ledger.owns(worker.id, attempt.id, attempt.claim.number)
        self.ledger.step(worker.begin(message), {attempt.id} if owns else ())
        self.ledger.remember_ends(worker.id)

    def _give_back_unstarted(self, worker: PlayedWorker, drawn: Drawn) -> None:
        worker.give_back_unstarted()

    def _complete_or_not(self, worker: PlayedWorker, drawn: Drawn) -> None:
        """Complete a task, perhaps twice, as a body does that got no answer to its first commit."""
        bodies = worker.transactional
        overtaken = [b for b in bodies if self._overtaken(worker.id, b.attempt.id, b.attempt.claim.number)]
        body = drawn.one(overtaken or bodies)
        with suppress(StaleClaim):
            self._complete(worker, body, commit=drawn.fine)
            self._complete(worker, body)

    def _complete(self, worker: PlayedWorker, body: Body, *, commit: bool = True) -> None:
        attempt = body.attempt
        owns = self.ledger.owns(worker.id, attempt.id, attempt.claim.number)
        try:
            committed = self.ledger.step(worker.complete(body, commit=commit), {attempt.id} if owns else ())
        except StaleClaim:
            assert not owns
            if (attempt.id, attempt.claim.number) in self.ledger.ended:
                self.ground.happened["a completion after the end"] += 1
            raise
        assert owns
        assert (self.ledger.rows[attempt.id]["status"] == "success") == committed == commit
        self.ledger.remember_ends(worker.id)

    def _end(self, worker: PlayedWorker, drawn: Drawn) -> None:
        self._end_body(worker, drawn.one(worker.bodies), ENDS[drawn.how])

    def _end_body(self, worker: PlayedWorker, body: Body, error: BaseException | None) -> None:
        if error is None and body.transactional and not body.completed:
            try:
                self._complete(worker, body)
            except StaleClaim as stale:
                error = stale
        self.delayed.insert(0, (worker.id, worker.end(body, error)))

    def _write(self, worker: PlayedWorker, drawn: Drawn = FINE) -> None:
        """Let the recorder write once.

        It must write the records of tasks that the worker owns, and skip those that are recorded
        already.
        """
        noted = {entry.attempt.id: entry for entry in worker.noted if entry.row is not None}
        claims = {task_id: entry.attempt.claim.number for task_id, entry in noted.items()}
        owned = {i for i, claim in claims.items() if self.ledger.owns(worker.id, i, claim)}
        ended = {i for i, claim in claims.items() if (i, claim) in self.ledger.ended}
        standing = {i for i in ended if self.ledger.rows[i]["claim"] == claims[i]}
        old, again = verdicts(), set(worker.claims.fetched_again)
        self.ledger.step(worker.write(redis=drawn.fine), owned | again)
        assert verdicts() - old == Counter(
            written=len(owned), already_mine=len(standing), refused=len(noted) - len(owned) - len(standing)
        )
        for task_id in owned:
            self._check_written(noted[task_id].row)
        if drawn.fine:
            released = {task_id for task_id, entry in noted.items() if entry.released}
            assert not released & self.ground.run(self.ground.queues.unacked(worker.id))
        self.ledger.remember_ends(worker.id)

    def _check_written(self, record: Row | None) -> None:
        """Check a task's row after its record was written.

        A task must not go back to waiting if its cancellation was requested.
        """
        assert record is not None
        old, row = self.ledger.before[record.id], self.ledger.rows[record.id]
        revoked = old["cancel_requested_at"] is not None and record.wait_s is not None
        assert row["status"] == ("revoked" if revoked else record.status)
        assert row["holder"] == (None if record.released else old["holder"])

    def _heartbeat(self, worker: PlayedWorker, drawn: Drawn) -> None:
        """Send a worker's heartbeat, and let the worker look up which of its tasks are to be
        canceled.
        """
        self.ledger.step(worker.heartbeat())

    def _reconcile(self, worker: PlayedWorker, drawn: Drawn) -> None:
        held = self.ledger.where(lambda row: row["holder"] == worker.id)
        stranded = self.ledger.stranded([worker.id]) - worker.claims.ids()
        self.ledger.step(worker.reconcile(), held | stranded)
        assert all(self.ledger.rows[task_id]["send_at"] for task_id in stranded)
        assert all(self.ledger.rows[task_id]["holder"] is None for task_id in held - worker.claims.ids())

    def _give_back_forgotten(self, worker: PlayedWorker, drawn: Drawn) -> None:
        """Send a statement of the worker's last reconciliation again, as if an earlier try arrived
        late.
        """
        owned = {i for i, claim in worker.forgotten.items() if self.ledger.owns(worker.id, i, claim)}
        self.ledger.step(worker.give_back_forgotten(), owned)
        assert all(self.ledger.rows[task_id]["send_at"] for task_id in owned)
