"""Workflows of every shape for the drill. They take about as long as the faults that occur while
they run.
"""

import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from shared.workflows.reference import PREVIOUS
from shared.workflows.shapes import chain, chord
from shared.workflows.workflow import ALWAYS, STOP, Node, Workflow
from tests.sample_tasks import (
    ADD,
    COUNT,
    EFFECT,
    FAIL,
    INSTANT,
    REPORT,
    WAIT,
    Fails,
    Nothing,
    Number,
    Numbers,
    Outcomes,
    Seconds,
)

#: A delay that is longer than any run of the drill.
NEVER = timedelta(hours=1)
SUM = 1234567
FAILS, SUCCEEDS = Fails(kind="permanent"), Fails(kind="permanent", times=0)

Shape = Callable[[Workflow, random.Random, timedelta], object]


def join(flow: Workflow, *after: Node, **options: Any) -> Node:
    """Add a step whose task has an effect in the database, so that duplicate runs can be
    counted.
    """
    return flow.step(EFFECT, Seconds(seconds=0.01), name="join", after=after, **options)


def chained(flow: Workflow, dice: random.Random, pause: timedelta) -> None:
    first = flow.step(WAIT, Seconds(seconds=dice.uniform(0, 1)), name="first")
    second = flow.step(INSTANT, Nothing(), name="second", after=[first], delay=pause)
    flow.step(INSTANT, Nothing(), name="last", after=[join(flow, second)])


def tolerant(flow: Workflow, dice: random.Random, pause: timedelta) -> None:
    """Build a workflow with a group that tolerates up to two failed tasks. The group fails if three
    tasks fail.
    """
    members = [FAILS] * dice.randint(0, 3) + [SUCCEEDS] * 6
    many = flow.group(FAIL, members[:6], at_least=4, delay=pause, name="many")
    flow.step(INSTANT, Nothing(), name="last", after=[join(flow, many)])


def raced(flow: Workflow, dice: random.Random, pause: timedelta) -> None:
    members = [Seconds(seconds=dice.uniform(0, 2)) for _ in range(5)]
    join(flow, flow.group(WAIT, members, first=2, delay=pause, name="many"))


def gathered(flow: Workflow, dice: random.Random, pause: timedelta) -> None:
    many = flow.group(COUNT, [Number(value=int(digit)) for digit in str(SUM)], name="many")
    total = flow.step(ADD, Numbers(values=PREVIOUS), name="sum", delay=pause)
    chord(many, total)
    join(flow, total)


def handled(flow: Workflow, dice: random.Random, pause: timedelta) -> None:
    bad = flow.step(FAIL, FAILS, name="bad", delay=pause)
    never = flow.step(INSTANT, Nothing(), name="never", after=[bad])
    ends = Outcomes(outcomes=[bad.outcome, never.outcome])
    flow.on_failure(REPORT, ends, name="repair")
    join(flow, bad, never, when=ALWAYS)


def stopped(flow: Workflow, dice: random.Random, pause: timedelta) -> None:
    flow.failure_policy = STOP
    bad = flow.step(FAIL, FAILS, name="bad", delay=pause)
    join(flow, bad, *halted(flow, dice), when=ALWAYS)


def canceled(flow: Workflow, dice: random.Random, pause: timedelta) -> None:
    """Build a workflow that the drill cancels while it runs."""
    join(flow, *halted(flow, dice), when=ALWAYS)


def late(flow: Workflow, dice: random.Random, pause: timedelta) -> None:
    flow.deadline = pause + timedelta(seconds=2)
    main = halted(flow, dice)
    flow.on_failure(INSTANT, Nothing(), name="repair")
    join(flow, *main, when=ALWAYS)


def halted(flow: Workflow, dice: random.Random) -> list[Node]:
    """Add a chain of steps that does not end by itself: some slow steps, and then one with a delay
    longer than the drill.
    """
    steps = [flow.step(WAIT, Seconds(seconds=1), name=f"slow_{n}") for n in range(dice.randint(0, 20))]
    waits = flow.step(INSTANT, Nothing(), name="waits", delay=NEVER)
    after = flow.step(INSTANT, Nothing(), name="after")
    chain(*steps, waits, after)
    return [*steps, waits, after]


SHAPES: tuple[Shape, ...] = (chained, tolerant, raced, gathered, handled, stopped, canceled, late)


def mixed(count: int, dice: random.Random, *, over_s: float) -> Iterator[tuple[str, Workflow]]:
    """Yield `count` workflows, each with the name of its shape. The shapes take turns. Each
    workflow pauses once, for up to `over_s` seconds.
    """
    for number in range(count):
        shape = SHAPES[number % len(SHAPES)]
        flow = Workflow(f"drill.{shape.__name__}")
        shape(flow, dice, timedelta(seconds=dice.uniform(0, over_s)))
        yield shape.__name__, flow
