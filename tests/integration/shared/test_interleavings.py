"""Tests the platform with random orders of claims, ends, rescues, cancels and losses: a task always
has one place and one writer, and is never lost.

A state machine runs random steps against real Postgres and Valkey. Each step runs a statement or
class of the platform to its end. A crash or a lost answer is simulated by leaving out what would
follow. After each step the whole ledger is compared with its previous state: only what this step
may change has changed. No step sleeps. To let time pass, the ledger's time columns are moved back.
"""

from collections.abc import Callable, Coroutine, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import pytest
from dramatiq.threading import Interrupt
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from services.scheduler.dispatcher import BATCH, DUE, Dispatcher
from services.scheduler.expirer import Expirer
from services.scheduler.index_cursor import IndexCursor
from services.scheduler.lane_check import LaneCheck
from services.scheduler.rescuer import Rescuer
from services.scheduler.resender import Resender
from shared.contracts.contract import Contract
from shared.ledger.lifecycle import FINAL
from shared.ledger.tally import Tally
from shared.ledger.transitions.operate import CANCEL, RETRY, UNEDITED
from shared.ledger.transitions.send import MARK_SENT
from shared.new_task import NewTask
from shared.submission import Submitter
from shared.transport.keys import lane_key
from shared.transport.queues import Address
from tests.integration.shared.crew import Crew, Drawn
from tests.integration.shared.interleavings import (
    QUEUE,
    VAULT,
    Ground,
    Witness,
    differences,
)
from tests.integration.shared.played_worker import ENDS
from tests.sample_tasks import EFFECT, INSTANT, Nothing, Seconds

T = TypeVar("T")

#: Number of random examples, and of steps in each. To search for new failures, raise both, and set
#: derandomize=False below, so that each run draws other examples.
EXAMPLES, STEPS = 120, 60
MAX_TASKS, MAX_CANCELLED = 5, 2
#: Number of rounds, without any failure in between, within which all tasks must end.
CALM_ROUNDS = 6

#: Seconds by which the tests move time on. The first exceeds the margin that a direct submission
#: has to be marked, the second the age at which the lane check counts ids as lost, and the third
#: every delay.
WAITS = (4, 31, 61)
PRIORITIES = (5, 9)


@pytest.fixture
def ground(database_url: str, redis_url: str) -> Iterator[Ground]:
    opened = Ground(database_url, redis_url)
    opened.run(opened.open())
    yield opened
    opened.close()


@dataclass(frozen=True)
class Mark:
    """A statement that has still to be run, which marks pushed ids as sent, and the claims that
    were seen at the push.
    """

    seen: dict[UUID, int]
    write: Callable[[], Coroutine[Any, Any, Any]]


class Interleavings(RuleBasedStateMachine):
    """The state machine: it draws each step from those that are possible at the moment."""

    drawn = st.builds(
        Drawn,
        who=st.integers(0, 4),
        step=st.integers(0, 59),
        worker=st.integers(0, 11),
        item=st.integers(0, 59),
        how=st.sampled_from(sorted(ENDS)),
        fine=st.booleans(),
    )

    def __init__(self, ground: Ground) -> None:
        super().__init__()
        self.ground = ground
        self.ledger = Witness(ground)
        self.marks: list[Mark] = []
        self.redis_lost = self.redis_empty = self.resending = False
        ground.run(ground.clean())
        self.resender = Resender(ground.database, ground.queues)
        assert ground.run(self.resender.run_once())
        while ground.run(self.resender.run_once()):
            pass
        self.crew = Crew(ground, self.ledger)

    @initialize(
        contracts=st.lists(st.sampled_from([EFFECT, EFFECT, INSTANT]), min_size=2, max_size=MAX_TASKS)
    )
    def tasks_are_submitted(self, contracts: list[Contract[Any, Any]]) -> None:
        for contract in contracts:
            self._submit_task(contract)
        for _ in contracts[::2]:
            self._write_mark(self.marks.pop())

    def _submit_task(self, contract: Contract[Any, Any], *, pushed: bool = True, **options: Any) -> None:
        queues = self.ground.queues if pushed else self.ground.no_queues
        submitter = Submitter(self.ground.database, queues, VAULT)
        params = Seconds(seconds=0) if contract is EFFECT else Nothing()
        new = NewTask(contract=contract, params=params, **options)
        (task_id,) = self.ledger.step(submitter.submit([new]))
        assert self.ledger.rows.keys() - self.ledger.before.keys() == {task_id}
        if pushed and new.direct:
            self.marks.append(Mark({task_id: 0}, submitter.mark))

    @rule(drawn=drawn)
    def go_on(self, drawn: Drawn) -> None:
        """Run any one step.

        This is the only rule of the state machine, because with several rules hypothesis leaves
        some of them out of an example.
        """
        (
            self.crew.a_worker_goes_on,
            self.crew.a_worker_goes_on,
            self.crew.a_worker_works,
            self._the_leader_goes_on,
            self._something_happens,
        )[drawn.who](drawn)

    # From here on: steps of the leading scheduler.

    def _the_leader_goes_on(self, drawn: Drawn) -> None:
        steps = (
            (self._dispatch, self.ledger.late("send_at")),
            (self._dispatch_without_marking, self.ledger.late("send_at")),
            (self._mark_late, self.marks),
            (self._rescue, self.crew.to_rescue),
            (self._expire, self.ledger.late("expires_at")),
            (self._resend, self.redis_lost),
            (self._check_lanes, self.ledger.late("sent_at", by_s=30)),
        )
        drawn.do_one(steps)

    def _dispatch(self, drawn: Drawn) -> None:
        due = self.ledger.where(lambda row: row["send_at"])
        self.ledger.step(Dispatcher(self.ground.database, self.ground.queues, IndexCursor()).run_once(), due)

    def _dispatch_without_marking(self, drawn: Drawn) -> None:
        async def push() -> dict[UUID, int]:
            rows = await self.ground.database.run(DUE, limit=BATCH, **asdict(IndexCursor().look()))
            due = [row for row in rows if row["id"] is not None]
            await self.ground.queues.push(
                Address(UUID(int=r["id"].int), r["queue"], r["priority"], rescued=r["suspect"]) for r in due
            )
            return {UUID(int=row["id"].int): row["claim"] for row in due}

        seen = self.ledger.step(push())
        values = {"id": list(seen), "claim": list(seen.values())}
        self.marks.append(Mark(seen, lambda: self.ground.database.run(MARK_SENT, **values)))

    def _mark_late(self, drawn: Drawn) -> None:
        mark = drawn.one(self.marks)
        self.marks.remove(mark)
        self._write_mark(mark)

    def _write_mark(self, mark: Mark) -> None:
        waiting = self.ledger.where(lambda row: row["send_at"]) & mark.seen.keys()
        true = {i for i in waiting if self.ledger.rows[i]["claim"] == mark.seen[i]}
        self.ground.happened["a late mark of an old claim"] += len(waiting - true)
        self.ledger.step(mark.write(), true)
        assert all(self.ledger.rows[task_id]["sent_at"] for task_id in true)

    def _rescue(self, drawn: Drawn) -> None:
        """Rescue tasks as a new leader does.

        A new leader has not watched any worker yet, so it does not declare any dead.
        """
        lost = self.ledger.where(lambda row: row["holder"] in self.ledger.dead)
        stranded = self.ledger.stranded(self.ledger.dead)
        tally = Tally(self.ground.database)
        rescuer = Rescuer(self.ground.database, self.ground.queues, tally, stall_after_s=60)
        self.ledger.step(rescuer.run_once(), lost | stranded)
        self.crew.to_rescue = False
        self.ground.happened["a rescue of what was only fetched"] += len(stranded)
        assert all(self.ledger.rows[task_id]["send_at"] for task_id in stranded)
        for task_id in lost:
            old, row = self.ledger.before[task_id], self.ledger.rows[task_id]
            assert row["holder"] is None
            # The claim's number rises by one, or by two if the task's id was also in the unacked
            # set of a dead worker.
            assert row["claim"] - old["claim"] in (1, 2)
            self.ground.happened[f"a rescue of what was {old['status']}"] += 1

    def _expire(self, drawn: Drawn) -> None:
        late = self.ledger.late("expires_at")
        expirer = Expirer(self.ground.database, self.ground.queues, Tally(self.ground.database))
        self.ledger.step(expirer.run_once(), late)
        assert all(self.ledger.rows[task_id]["status"] == "failure" for task_id in late)

    def _resend(self, drawn: Drawn) -> None:
        resent = self.resending
        self.redis_lost = self.resending = self.ledger.step(self.resender.run_once())
        assert self.resending or not self.redis_empty
        self.redis_empty = False
        if resent and not self.resending:
            in_lanes = self.ground.run(self.ground.lanes())
            assert self.ledger.where(lambda row: row["sent_at"]) <= in_lanes

    def _check_lanes(self, drawn: Drawn) -> None:
        self.ledger.step(
            LaneCheck(self.ground.database, self.ground.queues, [QUEUE]).run_once(),
            self.ledger.late("sent_at", by_s=30),
        )

    # From here on: acts of users, losses of data, and the passing of time.

    def _something_happens(self, drawn: Drawn) -> None:
        cancelled = self.ledger.where(lambda row: row["cancel_requested_at"])
        early = self.ledger.where(lambda row: row["send_at"]) - self.ledger.late("send_at")
        steps = (
            (self._submit, len(self.ledger.rows) < MAX_TASKS),
            (self._cancel, len(cancelled) < MAX_CANCELLED),
            (self._retry, self.ledger.where(lambda row: row["status"] in ("failure", "revoked"))),
            (self._push_again, drawn.fine),
            (self.crew.write_delayed, self.crew.delayed),
            (self.crew.write_delayed, self.crew.delayed),
            (self.crew.declare_dead, self.crew.has_something),
            (self.crew.declare_dead, self.crew.has_fetched),
            (self.crew.declare_dead, self.crew.has_fetched),
            (self._redis_loses, self.ledger.in_lanes and not self.redis_lost),
            (self._time_passes, early),
        )
        drawn.do_one(steps)

    def _submit(self, drawn: Drawn) -> None:
        options: dict[str, Any] = {"priority": drawn.one(PRIORITIES)}
        if drawn.item % 3 == 0:
            options["delay"] = timedelta(seconds=30)
        if drawn.how == "failure":
            options["expires_at"] = datetime.now(UTC) + timedelta(seconds=70)
        self._submit_task(EFFECT if drawn.worker % 2 else INSTANT, pushed=drawn.fine, **options)

    def _cancel(self, drawn: Drawn) -> None:
        task_id, old = drawn.one(sorted(self.ledger.rows.items()))
        final = old["status"] in FINAL
        self.ledger.step(self.ground.database.run(CANCEL, id=task_id), () if final else {task_id})
        row = self.ledger.rows[task_id]
        status = "revoked" if old["holder"] is None and not final else old["status"]
        assert (row["status"], row["holder"]) == (status, old["holder"])

    def _retry(self, drawn: Drawn) -> None:
        task_id, old = drawn.one(sorted(self.ledger.rows.items()))
        ended = old["status"] in ("failure", "revoked")
        retry = self.ground.database.run(RETRY, id=task_id, reason="by hand", delay_s=None, **UNEDITED)
        answer = self.ledger.step(retry, {task_id} if ended else ())
        assert bool(answer) == ended
        assert self.ledger.rows[task_id]["claim"] == old["claim"] + ended

    def _redis_loses(self, drawn: Drawn) -> None:
        """Let Redis lose everything, a whole lane, or the last id of a lane.

        The last also changes the run id, as a restart does.
        """
        client, lane = self.ground.queues.client, lane_key(QUEUE, drawn.one(PRIORITIES))
        empty = drawn.worker % 3 == 0

        async def lose() -> None:
            if empty:
                await client.flushdb()
            elif drawn.fine:
                await client.delete(lane)
            else:
                await client.rpop(lane)
                await self.ground.database.run("UPDATE generation SET run_id = 'before the restart'")

        self.ledger.step(lose())
        self.redis_lost, self.redis_empty = True, empty

    def _push_again(self, drawn: Drawn) -> None:
        task_id, row = drawn.one(sorted(self.ledger.rows.items()))
        address = Address(task_id, QUEUE, row["priority"], rescued=drawn.how == "failure")
        self.ledger.step(self.ground.queues.push([address]))

    def _time_passes(self, drawn: Drawn) -> None:
        waiting = self.ledger.where(lambda row: row["status"] not in FINAL)
        self.ledger.step(self.ground.age(drawn.one(WAITS)), waiting)
        times = {"created_at", "send_at", "sent_at", "expires_at"}
        for task_id, row in self.ledger.rows.items():
            assert differences(self.ledger.before[task_id], row) <= times

    @invariant()
    def nothing_else_has_changed(self) -> None:
        self.ledger.check()

    # From here on: what is checked at the end of each example.

    def teardown(self) -> None:
        """Check that all tasks end if nothing goes wrong any more, so that none was lost or is
        stuck.
        """
        if not self.ledger.content:
            return  # a check has failed already
        for _ in range(CALM_ROUNDS):
            waiting = self.ledger.where(lambda row: row["status"] not in FINAL)
            if not waiting:
                break
            self.ledger.step(self._calm_round(), waiting)
            self.ledger.check()
        for task_id, row in self.ledger.rows.items():
            assert row["status"] in FINAL
            known = {*row["closed_attempts"], row["attempt"]}
            known |= {attempt for overtaken, attempt in self.crew.overtaken if overtaken == task_id}
            assert known >= set(range(1, row["attempt"] + 1))

    async def _calm_round(self) -> None:
        database, queues = self.ground.database, self.ground.queues
        await self.ground.age(max(WAITS))
        await Rescuer(database, queues, Tally(database), stall_after_s=60).run_once()
        await Expirer(database, queues, Tally(database)).run_once()
        while await self.resender.run_once():
            pass
        await LaneCheck(database, queues, [QUEUE]).run_once()
        await Dispatcher(database, queues, IndexCursor()).run_once()
        for worker in self.crew.workers:
            await worker.work_off()


#: Situations that must occur at least once in the random examples. Otherwise the checks for them
#: would test nothing.
TRIED = {
    "a claim by a dead worker",
    "a completion after the end",
    "a late mark of an old claim",
    "a record after the end",
    "a rescue of what was only fetched",
    "a rescue of what was pending",
    "a rescue of what was started",
    "an old record of the holder",
}


def test_in_any_order_of_steps_every_task_has_one_place_and_one_writer_and_ends(ground: Ground) -> None:
    class OnThisGround(Interleavings):
        def __init__(self) -> None:
            super().__init__(ground)

    run_state_machine_as_test(
        OnThisGround,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=STEPS, derandomize=True, deadline=None, database=None
        ),
    )
    assert set(+ground.happened) >= TRIED


def test_postgres_itself_refuses_two_places_no_place_and_a_place_after_the_end(ground: Ground) -> None:
    machine = Interleavings(ground)
    machine.tasks_are_submitted([INSTANT])
    (task_id,) = machine.ledger.rows
    for wrong in ("send_at = now()", "sent_at = NULL", "status = 'success', completed_at = now()"):
        with pytest.raises(asyncpg.CheckViolationError) as refusal:
            ground.run(ground.database.run(f"UPDATE task SET {wrong} WHERE id = {{}}", task_id))
        assert refusal.value.constraint_name == "task_is_in_one_place"


def test_a_body_interrupted_after_its_effect_was_rolled_back_does_not_succeed(
    ground: Ground,
) -> None:
    machine = Interleavings(ground)
    machine.tasks_are_submitted([EFFECT])
    worker = machine.crew.workers[0]
    ground.run(worker.take_in(1))
    ground.run(worker.begin(worker.take()))
    (body,) = worker.bodies
    assert not ground.run(worker.complete(body, commit=False))
    assert worker.end(body, Interrupt()).status == "pending"
