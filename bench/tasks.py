"""Tasks that are measured. Their bodies are those of the peers, in `bench/peers`."""

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
    #: Says which of the tasks it is.
    token: int
    #: How long it goes on after the ring.
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
    #: Identifies the task, as in `Ring`.
    token: int


#: What a short task takes.
SHORT_S = 0.01

NOOP = Contract(name="bench.do_nothing", queue="default", params=Nothing, result=Done)
SHORT = Contract(name="bench.sleep_briefly", queue="default", params=Nothing, result=Done)
TICK = Contract(name="bench.tick", queue="default", params=Ticks, result=Done)
RING = Contract(name="bench.ring_bell", queue="default", params=Ring, result=Done)
#: The body of a chord of no-op tasks.
GATHER = Contract(name="bench.gather_results", queue="default", params=Gather, result=Done)
WRITE = Contract(name="bench.write_letter", queue="default", params=Nothing, result=Letter)
READ = Contract(name="bench.read_letters", queue="default", params=ReadLetters, result=Done)

#: With its name and quotes, about 1 kB of JSON.
LETTER = Letter(text="x" * 1_000)


@task(NOOP)
def noop(context: TaskContext, params: Nothing) -> Done:
    tally.began()
    tally.ended()
    return Done()


def sleep_briefly() -> None:
    """The body of 10 ms, which threads loop by themselves on the other side."""
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
    """Each progress message is the time at which it was sent."""
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
