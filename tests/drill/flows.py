"""Workflows of every shape, which take about as long as the faults that they run through."""

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

#: Longer than any drill.
NEVER = timedelta(hours=1)
SUM = 1234567
FAILS, SUCCEEDS = Fails(kind="permanent"), Fails(kind="permanent", times=0)

Shape = Callable[[Workflow, random.Random, timedelta], object]


def join(flow: Workflow, *after: Node, **options: Any) -> Node:
    """A step whose body has an effect that can be counted."""
    return flow.step(EFFECT, Seconds(seconds=0.01), name="join", after=after, **options)


def chained(flow: Workflow, dice: random.Random, pause: timedelta) -> None:
    first = flow.step(WAIT, Seconds(seconds=dice.uniform(0, 1)), name="first")
    second = flow.step(INSTANT, Nothing(), name="second", after=[first], delay=pause)
    flow.step(INSTANT, Nothing(), name="last", after=[join(flow, second)])


def tolerant(flow: Workflow, dice: random.Random, pause: timedelta) -> None:
    """With three failures one too many has failed."""
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
    told = Outcomes(outcomes=[bad.outcome, never.outcome])
    flow.on_failure(REPORT, told, name="repair")
    join(flow, bad, never, when=ALWAYS)


def stopped(flow: Workflow, dice: random.Random, pause: timedelta) -> None:
    flow.failure_policy = STOP
    bad = flow.step(FAIL, FAILS, name="bad", delay=pause)
    join(flow, bad, *halted(flow, dice), when=ALWAYS)


def canceled(flow: Workflow, dice: random.Random, pause: timedelta) -> None:
    """The drill cancels it."""
    join(flow, *halted(flow, dice), when=ALWAYS)


def late(flow: Workflow, dice: random.Random, pause: timedelta) -> None:
    flow.deadline = pause + timedelta(seconds=2)
    main = halted(flow, dice)
    flow.on_failure(INSTANT, Nothing(), name="repair")
    join(flow, *main, when=ALWAYS)


def halted(flow: Workflow, dice: random.Random) -> list[Node]:
    """Steps that do not end by themselves: some run one after the other, and the last one waits."""
    steps = [flow.step(WAIT, Seconds(seconds=1), name=f"slow_{n}") for n in range(dice.randint(0, 20))]
    waits = flow.step(INSTANT, Nothing(), name="waits", delay=NEVER)
    after = flow.step(INSTANT, Nothing(), name="after")
    chain(*steps, waits, after)
    return [*steps, waits, after]


SHAPES: tuple[Shape, ...] = (chained, tolerant, raced, gathered, handled, stopped, canceled, late)


def mixed(count: int, dice: random.Random, *, over_s: float) -> Iterator[tuple[str, Workflow]]:
    """Shapes in turn, with their names; each pauses once for a part of this time."""
    for number in range(count):
        shape = SHAPES[number % len(SHAPES)]
        flow = Workflow(f"drill.{shape.__name__}")
        shape(flow, dice, timedelta(seconds=dice.uniform(0, over_s)))
        yield shape.__name__, flow
