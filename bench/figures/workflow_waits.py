"""Measures delays inside a workflow: from step to step, from the end of a group to the body of its
chord, and the time to read a body's inputs.
"""

import logging
from collections.abc import Sequence
from itertools import pairwise

from bench import doorbell, flows, ours, tally
from bench.doorbell import Doorbell
from bench.figure import Benchmark, Figure, Measured, Round, percentile
from bench.stage import Stage
from bench.tasks import READ, RING, WRITE, Nothing, ReadLetters, Ring
from shared.ledger.statement import Statement
from shared.workflows.shapes import chain
from shared.workflows.workflow import Workflow
from tests.platform import Platform

log = logging.getLogger(__name__)

#: Number of chains, which run one after another, number of steps in each chain, and number of
#: warm-up chains.
CHAINS, STEPS, WARM_UP = 100, 11, 5
#: Number of chords, which run one after another, number of members in each chord, and number of
#: workers.
CHORDS, MEMBERS, WORKERS = 60, 1_000, 4
#: Number of results of other tasks that a task reads as its input, and number of such tasks.
LETTERS, READINGS = 10_000, 10


def _hop(percent: int, required: float, target: float) -> Figure:
    return Figure(
        f"hop of a chain, p{percent}",
        f"from the first line of an empty body to that of the next step's, {CHAINS} chains of {STEPS} steps "
        "one after the other; two workers",
        required,
        target,
        lower_is_better=True,
    )


HOPS = {50: _hop(50, 10, 7), 99: _hop(99, 40, 25)}
JOIN = Figure(
    "group ended to body",
    f"p95 from the end of the last of {MEMBERS:,} members to the claim of the chord's body, which is later "
    f"than its row; {CHORDS} chords one after the other; {WORKERS} workers",
    required=150,
    target=50,
    lower_is_better=True,
)
INPUTS = Figure(
    "results into a body",
    f"median time from the claim of a task that takes {LETTERS:,} results of 1 kB to the first line of its "
    f"body, {READINGS} tasks one after the other",
    required=200,
    target=120,
    lower_is_better=True,
)

#: SQL: the seconds from the end of a chord's last member to the claim of the chord's body.
JOINED = Statement("""
    SELECT extract(epoch FROM body.claimed_at - group_end.at)::float8 AS seconds
    FROM (
        SELECT workflow, max(completed_at) AS at FROM task
        WHERE workflow = ANY(:id::uuid[]) AND step = 'members' GROUP BY workflow
    ) AS group_end JOIN task AS body ON body.workflow = group_end.workflow AND body.step = 'body'
""")
CLAIMED = Statement("""
    SELECT extract(epoch FROM claimed_at)::float8 AS at FROM task
    WHERE workflow = :id AND name = :name ORDER BY id
""")


async def measure(stage: Stage, rounds: int) -> Sequence[Measured]:
    hops = {percent: Measured(figure, "ms") for percent, figure in HOPS.items()}
    join, inputs = Measured(JOIN, "ms"), Measured(INPUTS, "ms")
    for _ in range(rounds):
        waits = await _hops(stage)
        for percent, line in hops.items():
            line.rounds.append(Round(percentile(waits, percent), 1))
            log.info("p%d of the delay between two steps: %.1f ms", percent, line.rounds[-1].ours)
        join.rounds.append(Round(percentile(await _joins(stage), 95), 1))
        inputs.rounds.append(Round(percentile(await _readings(stage), 50), 1))
        log.info(
            "delay from group to chord body: %.1f ms, reading results: %.1f ms",
            join.rounds[-1].ours,
            inputs.rounds[-1].ours,
        )
    return [*hops.values(), join, inputs]


async def _hops(stage: Stage) -> list[float]:
    """Returns the milliseconds from the start of each step of a chain to the start of the next
    step.
    """
    waits: list[float] = []
    with Doorbell(stage.folder / "doorbell") as bell:
        async with ours.running(stage) as platform:
            await ours.workers_ready(platform, **{doorbell.VARIABLE: str(bell.path)})
            for number in range(WARM_UP + stage.count(CHAINS)):
                rung = await _rung(platform, bell)
                if number >= WARM_UP:
                    waits += [(after - before) * 1000 for before, after in pairwise(rung)]
    return waits


async def _rung(platform: Platform, bell: Doorbell) -> list[float]:
    """Run a chain of steps. Returns the times at which the bodies of the steps began."""
    flow = Workflow("rings")
    chain(*(flow.step(RING, Ring(token=token)) for token in range(STEPS)))
    await flows.submit(platform, flow)
    rung = [await bell.heard() for _ in range(STEPS)]
    assert [token for token, _ in rung] == list(range(STEPS)), "a step began twice or out of order"
    return [at for _, at in rung]


async def _joins(stage: Stage) -> list[float]:
    """Returns the milliseconds from the end of each chord's last member to the claim of the chord's
    body.
    """
    async with ours.running(stage) as platform:
        for _ in range(WORKERS // ours.WORKERS):
            await ours.workers_ready(platform, **{tally.VARIABLE: str(stage.folder)})
        ids = []
        for number in range(WARM_UP + max(2, stage.count(CHORDS))):
            made = await flows.submit(platform, flows.chord(MEMBERS))
            await flows.finished(platform)
            ids += made if number >= WARM_UP else []
        rows = await platform.rows(JOINED, id=ids)
        assert len(rows) == len(ids)
        return [row["seconds"] * 1000 for row in rows]


async def _readings(stage: Stage) -> list[float]:
    """Returns the milliseconds from the claim of a task with many inputs to the first line of its
    body.
    """
    count = max(2, stage.count(READINGS)) + WARM_UP
    flow = Workflow("letters")
    letters = flow.group(WRITE, [Nothing()] * stage.count(LETTERS), name="letters")
    chain(*(flow.step(READ, ReadLetters(letters=letters.results, token=n)) for n in range(count)))
    with Doorbell(stage.folder / "doorbell") as bell:
        async with ours.running(stage) as platform:
            await ours.workers_ready(platform, **{doorbell.VARIABLE: str(bell.path)})
            (id,) = await flows.submit(platform, flow)
            rung = [await bell.heard() for _ in range(count)]
            await flows.finished(platform)
            rows = await platform.rows(CLAIMED, id=id, name=READ.name)
    assert [token for token, _ in rung] == list(range(count)), "a step began twice or out of order"
    return [(at - row["at"]) * 1000 for (_, at), row in zip(rung, rows, strict=True)][WARM_UP:]


BENCHMARK = Benchmark("workflow_waits", measure, rounds=3)
