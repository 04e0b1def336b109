"""Defines the tasks of this project that are measured. Their bodies do the same as those of the
other task systems in `bench/peers`.
"""

import time
from typing import Any

from bench import doorbell, tally
from services.worker import registry
from services.worker.registry import TaskFunction, task
from shared.contracts.context import TaskContext
from shared.contracts.contract import Contract, Params, Result


class Nothing(Params):
    pass


class Ring(Params):
    #: Identifies this task in the report that its body sends when it begins.
    token: int
    #: Seconds that the task body sleeps after it has reported its start.
    seconds: float = 0.0


class Ticks(Params):
    count: int
    pause_s: float


class Done(Result):
    pass


class Letter(Result):
    text: str


class Gather(Params):
    results: list[Done]


class ReadLetters(Params):
    letters: list[Letter]
    #: Identifies this task in the report that its body sends when it begins.
    token: int


#: Seconds that the body of a short task sleeps.
SHORT_S = 0.01

NOOP = Contract(name="bench.do_nothing", queue="default", params=Nothing, result=Done)
SHORT = Contract(name="bench.sleep_briefly", queue="default", params=Nothing, result=Done)
TICK = Contract(name="bench.tick", queue="default", params=Ticks, result=Done)
RING = Contract(name="bench.ring_bell", queue="default", params=Ring, result=Done)
#: The contract of a chord's body, which runs after all members of the chord.
GATHER = Contract(name="bench.gather_results", queue="default", params=Gather, result=Done)
WRITE = Contract(name="bench.write_letter", queue="default", params=Nothing, result=Letter)
READ = Contract(name="bench.read_letters", queue="default", params=ReadLetters, result=Done)

#: A task result whose JSON has about 1 kB, including the field's name and quotes.
LETTER = Letter(text="x" * 1_000)


@task(NOOP)
def noop(context: TaskContext, params: Nothing) -> Done:
    tally.began()
    tally.ended()
    return Done()


def sleep_briefly() -> None:
    """A task body that takes 10 ms. Plain threads also run it in a loop, for comparison."""
    tally.began()
    time.sleep(SHORT_S)
    tally.ended()


@task(SHORT)
def short(context: TaskContext, params: Nothing) -> Done:
    sleep_briefly()
    return Done()


@task(RING)
def ring(context: TaskContext, params: Ring) -> Done:
    doorbell.ring(params.token)
    time.sleep(params.seconds)
    return Done()


@task(TICK)
def tick(context: TaskContext, params: Ticks) -> Done:
    """A task body that reports progress repeatedly. Each report contains the time at which it was
    sent.
    """
    for number in range(params.count):
        time.sleep(params.pause_s)
        context.progress(number + 1, params.count, repr(time.time()))
    return Done()


@task(GATHER)
def gather(context: TaskContext, params: Gather) -> Done:
    tally.began()
    tally.ended()
    return Done()


@task(WRITE)
def write(context: TaskContext, params: Nothing) -> Letter:
    return LETTER


@task(READ)
def read(context: TaskContext, params: ReadLetters) -> Done:
    doorbell.ring(params.token)
    return Done()


TASKS: dict[str, TaskFunction[Any, Any]] = {}
registry.add(TASKS, list(globals().values()))
