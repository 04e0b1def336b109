"""Measures how long a worker's recorder needs to write outcomes while the same event loop advances
workflows.

The recorder and the advancer of a worker run in this process, without task bodies. Both sides of
the comparison do the same work: a batch of outcomes is written either while other workflows are
advanced, or afterwards.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from uuid import UUID, uuid4

from bench import flows
from bench.figure import Benchmark, Figure, Measured, Round, percentile
from bench.stage import Stage
from services.worker.claims.claim import Attempt, Claim
from services.worker.recording.inbox import BATCH_ROWS
from services.worker.recording.record import Entry
from services.worker.recording.writer import Writer
from services.worker.running.outcome import Outcome
from shared.ledger.connections import WORKER_LEDGER_POOL
from shared.ledger.database import Database
from shared.ledger.lifecycle import Status
from shared.ledger.protocol import PROTOCOL
from shared.ledger.statement import Statement
from shared.ledger.transitions.send import CLAIM
from shared.vault import Stored
from shared.workflows.advancer import Advancer
from tests.platform import Platform

log = logging.getLogger(__name__)

#: Number of timed batches of outcomes, half of them written while workflows are advanced, and of
#: warm-up batches before them.
SAMPLES, WARM_UP = 400, 20

FIGURE = Figure(
    "recorder while advancing",
    f"p50 of a recorder's round of {BATCH_ROWS} steps that began together with the advance of {BATCH_ROWS} "
    f"other workflows on the same event loop ÷ after that advance, in turn, {SAMPLES} rounds",
    required=1.10,
    target=1.05,
    lower_is_better=True,
)

JOIN = Statement("""
    INSERT INTO worker (id, hostname, pid, queues, threads, lock_key, protocol)
    VALUES (:id, 'bench', 1, ARRAY['default'], 8, 1, :protocol)
""")
WAITING = Statement("SELECT id FROM task WHERE workflow = ANY(:workflow::uuid[])")


class Chains:
    """A set of chains, whose current steps all end at the same time."""

    def __init__(self, ids: Sequence[UUID], tasks: Iterable[UUID]) -> None:
        self.ids = ids
        #: Ids of the current steps' tasks, which wait to be claimed.
        self.tasks = sorted(tasks)


class Loop:
    """The recorder and the advancer of a worker, on the event loop of this process."""

    def __init__(self, platform: Platform) -> None:
        self._id = uuid4()
        self._database = Database.for_recorder(platform.database_url, "bench")
        self._writer = Writer(self._id, self._database, turned=lambda: None)
        self._advancer = Advancer(self._database, platform.queues)

    async def open(self) -> None:
        await self._database.open(size=WORKER_LEDGER_POOL)
        await self._database.run(JOIN, id=self._id, protocol=PROTOCOL)

    async def close(self) -> None:
        await self._database.close()

    async def round(self, ended: Chains, ending: Chains, *, beside: bool) -> float:
        """Advance the workflows of one set, whose steps have ended, and record the ends of the
        other set's steps.

        With `beside`, both happen at the same time. Returns the milliseconds that recording took.
        """
        entries = await self._entries(ending)
        advance = asyncio.create_task(self._advance(ended))
        if not beside:
            await advance
        begun = time.perf_counter()
        written = await self._writer.write(entries)
        took_ms = 1000 * (time.perf_counter() - begun)
        await advance
        assert len(written) == len(entries)
        return took_ms

    async def _entries(self, ending: Chains) -> list[Entry]:
        """Claim the current steps' tasks, and build the records that they have succeeded."""
        rows = await self._database.run(CLAIM, worker=self._id, id=ending.tasks)
        entries = [Entry(Attempt.of(Claim.from_row(row))) for row in rows]
        for entry in entries:
            outcome = Outcome(Status.SUCCESS, result=Stored("{}", None))
            entry.attempt.number, entry.attempt.started_at = 1, self._database.now()
            entry.note_end(outcome, self._database.now(), 0.0)
        return entries

    async def _advance(self, ended: Chains) -> None:
        advanced = await self._advancer.advance(ended.ids)
        ended.tasks = sorted(task.id for task in advanced.tasks)
        assert len(ended.tasks) == len(ended.ids)


async def measure(stage: Stage, rounds: int) -> Sequence[Measured]:
    measured = Measured(FIGURE, "ms")
    for _ in range(rounds):
        beside, alone = await _times(stage)
        taken = Round(percentile(beside, 50), percentile(alone, 50))
        measured.rounds.append(taken)
        log.info(
            "a batch of outcomes took %.2f ms during an advance of workflows, %.2f ms after it",
            taken.ours,
            taken.theirs,
        )
    return [measured]


async def _times(stage: Stage) -> tuple[list[float], list[float]]:
    """Measure all batches. Returns the milliseconds of batches written during an advance of
    workflows, and of batches written after one.
    """
    times: dict[bool, list[float]] = {True: [], False: []}
    count = WARM_UP + stage.count(SAMPLES)
    await stage.settle()
    async with stage.platform() as platform:
        loop = Loop(platform)
        await loop.open()
        try:
            ended, ending = [await _chains(platform, 2 + count // 2) for _ in range(2)]
            await loop.round(Chains([], []), ended, beside=False)
            for number in range(count):
                # This order lets each set of workflows take part in both sides of the comparison.
                beside = number % 4 in (0, 3)
                took_ms = await loop.round(ended, ending, beside=beside)
                ended, ending = ending, ended
                if number >= WARM_UP:
                    times[beside].append(took_ms)
        finally:
            await loop.close()
    return times[True], times[False]


async def _chains(platform: Platform, steps: int) -> Chains:
    ids = await flows.submit(platform, flows.chain(steps), BATCH_ROWS)
    rows = await platform.rows(WAITING, workflow=ids)
    return Chains(ids, (UUID(int=row["id"].int) for row in rows))


BENCHMARK = Benchmark("workflow_rounds", measure)
