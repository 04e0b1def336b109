"""How long a round of the recorder takes while the same event loop advances workflows.

Writer and advancer are those of a worker, in this process and without bodies. Both sides do the same work: a
round is written either beside the advance of other workflows, or after it.
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

#: Rounds whose time is taken, half of them beside an advance, and those before them.
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
    """Workflows whose steps end together."""

    def __init__(self, ids: Sequence[UUID], tasks: Iterable[UUID]) -> None:
        self.ids = ids
        #: Their steps that wait to be claimed.
        self.tasks = sorted(tasks)


class Loop:
    """The part of a worker's ledger loop that writes records and advances workflows."""

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
        """Advance what has ended, and record the end of the others' steps. Milliseconds of the record."""
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
        """Records of the success of claimed steps."""
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
        log.info("a round beside an advance: %.2f ms, after it: %.2f ms", taken.ours, taken.theirs)
    return [measured]


async def _times(stage: Stage) -> tuple[list[float], list[float]]:
    """Milliseconds of rounds beside an advance, and of rounds after one."""
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
                beside = number % 4 in (0, 3)  # so each of the two takes part in both
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
