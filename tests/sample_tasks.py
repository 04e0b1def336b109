"""Tasks for tests, whose bodies do what ordinary bodies do.

`hostile_tasks` has badly behaved ones.
"""

import asyncio
import contextlib
import logging
import os
import re
import signal
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from services.worker import registry
from services.worker.registry import TaskFunction, task
from shared.contracts.context import TaskContext
from shared.contracts.contract import Contract, Params, Result, Retries
from shared.contracts.outcome import StepOutcome
from shared.contracts.sensitivity import SENSITIVE
from shared.errors import ExpectedError, PermanentError, Retry

SOON = Retries(max_attempts=3, delay=timedelta(milliseconds=50), factor=1.0)


class Nothing(Params):
    pass


class Seconds(Params):
    seconds: float


class Fails(Params):
    kind: str
    #: Number of attempts that fail before one succeeds.
    times: int = 1_000


class Spawns(Params):
    children: int
    at_once: bool = False
    then_fail: bool = False


class Pay(Params):
    card: Annotated[str, SENSITIVE]


class Paid(Result):
    receipt: Annotated[str, SENSITIVE]


class Slept(Result):
    seconds: float


class Done(Result):
    attempt: int


class Steps(Params):
    count: int
    pause_s: float


class Number(Params):
    value: int


class Counted(Result):
    value: int


class Numbers(Params):
    values: list[Counted]


class Tally(Params):
    value: int
    #: Limit for `value`. If `value` is above it, the task fails for good.
    limit: int
    secret: Annotated[str, SENSITIVE] = ""


class Outcomes(Params):
    outcomes: list[StepOutcome]


class Statuses(Result):
    statuses: list[str]
    attempt: int


INSTANT = Contract(name="sample.instant", queue="default", params=Nothing, result=Done)
WAIT = Contract(name="sample.wait", queue="default", params=Seconds, result=Done)
WAIT_ASYNC = Contract(name="sample.wait_async", queue="default", params=Seconds, result=Done)
SPIN = Contract(name="sample.spin", queue="default", params=Seconds, result=Done)
FAIL = Contract(
    name="sample.fail",
    queue="default",
    params=Fails,
    result=Done,
    retries=SOON,
    expected=(ConnectionError,),
    permanent=(ZeroDivisionError,),
)
CRASH = Contract(name="sample.crash", queue="default", params=Nothing, result=Done)
SPAWN = Contract(name="sample.spawn", queue="default", params=Spawns, result=Done, retries=SOON)
EFFECT = Contract(name="sample.effect", queue="default", params=Seconds, result=Done)
LATER = Contract(name="sample.later", queue="default", params=Seconds, result=Done)
HOG = Contract(name="sample.hog", queue="default", params=Nothing, result=Done)
LIMITED = Contract(
    name="sample.limited",
    queue="default",
    params=Seconds,
    result=Done,
    retries=Retries(max_attempts=2, delay=timedelta(milliseconds=50)),
    time_limit=timedelta(seconds=1),
)
STUBBORN = Contract(
    name="sample.stubborn",
    queue="default",
    params=Seconds,
    result=Done,
    retries=Retries(max_attempts=1),
    time_limit=timedelta(seconds=1),
)
HASTY = Contract(
    name="sample.hasty", queue="default", params=Nothing, result=Done, max_wait=timedelta(seconds=2)
)
#: A contract that was changed over several versions. It was named `sample.nap` in the queue `naps`.
#: Version 1 had minutes as its parameter, and version 2 had `wait_s`.
GROWN = Contract(
    name="sample.grown",
    queue="default",
    params=Seconds,
    result=Slept,
    version=3,
    upcasts={1: lambda raw: {"wait_s": raw["minutes"] * 60}, 2: lambda raw: {"seconds": raw["wait_s"]}},
    former_names=("sample.nap",),
    former_queues=("naps",),
)
PAY = Contract(name="sample.pay", queue="default", params=Pay, result=Paid, retries=SOON)
TALK = Contract(name="sample.talk", queue="default", params=Nothing, result=Done)
STEPS = Contract(name="sample.steps", queue="default", params=Steps, result=Done)
#: Contracts for workflow steps: `count` returns its number, `add` joins the numbers of several
#: steps into one, and `report` returns how steps ended.
COUNT = Contract(name="sample.count", queue="default", params=Number, result=Counted)
ADD = Contract(name="sample.add", queue="default", params=Numbers, result=Counted)
#: Contract for workflow steps. Each run inserts a row into the table `effect`, and returns the
#: value plus the length of the secret.
TALLY = Contract(name="sample.tally", queue="default", params=Tally, result=Counted)
REPORT = Contract(name="sample.report", queue="default", params=Outcomes, result=Statuses)


ERRORS: dict[str, Exception] = {
    "bug": RuntimeError("nobody foresaw this"),
    "expected": ExpectedError("come back later"),
    "expected_by_contract": ConnectionError("refused"),
    "permanent": PermanentError("never"),
    "permanent_by_contract": ZeroDivisionError("never"),
}


@task(INSTANT)
def instant(context: TaskContext, params: Nothing) -> Done:
    return Done(attempt=context.attempt)


@task(WAIT)
def wait(context: TaskContext, params: Seconds) -> Done:
    # Wait in small steps: Python raises an interrupt in a thread only between two bytecodes, so one
    # long wait could not be interrupted.
    ends = time.monotonic() + params.seconds
    while time.monotonic() < ends and not context.cancelled:
        threading.Event().wait(0.02)
    return Done(attempt=context.attempt)


@task(WAIT_ASYNC)
async def wait_async(context: TaskContext, params: Seconds) -> Done:
    """Wait without checking whether the task was canceled."""
    await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=params.seconds)
    return Done(attempt=context.attempt)


@task(SPIN)
def spin(context: TaskContext, params: Seconds) -> Done:
    """Hold the GIL for long, by one C call after another."""
    ends = time.monotonic() + params.seconds
    while time.monotonic() < ends:
        sum(range(30_000_000))
    return Done(attempt=context.attempt)


@task(FAIL)
def fail(context: TaskContext, params: Fails) -> Done:
    if context.attempt <= params.times:
        raise ERRORS[params.kind]
    return Done(attempt=context.attempt)


@task(CRASH)
def crash(context: TaskContext, params: Nothing) -> Done:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


@task(SPAWN)
def spawn(context: TaskContext, params: Spawns) -> Done:
    for _ in range(params.children):
        context.submit(INSTANT, Nothing(), at_once=params.at_once)
    if params.then_fail and context.attempt == 1:
        raise ERRORS["expected"]
    return Done(attempt=context.attempt)


@task(EFFECT)
async def effect(context: TaskContext, params: Seconds) -> Done:
    """Insert a row into a table without constraints, in one transaction with the task's success."""
    done = Done(attempt=context.attempt)
    async with context.transaction() as transaction:
        await context.database.run("INSERT INTO effect (task_id) VALUES ({})", context.id)
        await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=params.seconds)
        await context.complete_in(transaction, done)
    return done


@task(TALK)
def talk(context: TaskContext, params: Nothing) -> Done:
    context.progress(1, 4, "one of four")
    context.log.info("half way")
    context.log.warning("a NUL \x00 does no harm")
    context.progress(2, message="two of four")
    return Done(attempt=context.attempt)


@task(STEPS)
def steps(context: TaskContext, params: Steps) -> Done:
    """Report progress and write a log line at each step."""
    for number in range(1, params.count + 1):
        context.progress(number, params.count, f"step {number}")
        context.log.info("line %d", number)
        threading.Event().wait(params.pause_s)
    return Done(attempt=context.attempt)


@task(LATER)
def later(context: TaskContext, params: Seconds) -> Done:
    if context.attempt == 1:
        raise Retry("not yet", delay_s=params.seconds)
    if context.attempt == 2:
        raise Retry("nor now", at=datetime.now(UTC) + timedelta(seconds=params.seconds))
    return Done(attempt=context.attempt)


@task(HOG)
def hog(context: TaskContext, params: Nothing) -> Done:
    """Block the Python interpreter for hours in a single C call, by a regular expression that
    backtracks without end.
    """
    re.match(r"(a+)+$", "a" * 60 + "b")
    return Done(attempt=context.attempt)


@task(LIMITED)
def limited(context: TaskContext, params: Seconds) -> Done:
    ends = time.monotonic() + (params.seconds if context.attempt == 1 else 0)
    while time.monotonic() < ends:
        threading.Event().wait(0.02)
    return Done(attempt=context.attempt)


@task(STUBBORN)
def stubborn(context: TaskContext, params: Seconds) -> Done:
    """Ignore every exception that is raised in the body, even interrupts."""
    ends = time.monotonic() + params.seconds
    while time.monotonic() < ends:
        with contextlib.suppress(BaseException):
            while time.monotonic() < ends:
                threading.Event().wait(0.02)
    return Done(attempt=context.attempt)


@task(HASTY)
def hasty(context: TaskContext, params: Nothing) -> Done:
    return Done(attempt=context.attempt)


@task(GROWN)
def grown(context: TaskContext, params: Seconds) -> Slept:
    return Slept(seconds=params.seconds)


@task(PAY)
async def pay(context: TaskContext, params: Pay) -> Paid:
    """Put the secret card number into everything that a careless body could reveal: progress, log,
    error and result.
    """
    context.progress(1, 2, f"paying with {params.card}")
    context.log.info("the card is %s", params.card)
    logging.getLogger("some.library").warning("request with %r failed", {"card": params.card})
    if context.attempt == 1:
        raise ConnectionError(f"refused: {params.card!r}")
    return Paid(receipt=f"paid with {params.card}")


@task(COUNT)
def count(context: TaskContext, params: Number) -> Counted:
    return Counted(value=params.value)


@task(ADD)
def add(context: TaskContext, params: Numbers) -> Counted:
    return Counted(value=int("".join(str(each.value) for each in params.values) or "0"))


@task(TALLY)
async def tally(context: TaskContext, params: Tally) -> Counted:
    await context.database.run("INSERT INTO effect (task_id) VALUES ({})", context.id)
    if params.value > params.limit:
        raise PermanentError("over the limit")
    return Counted(value=params.value + len(params.secret))


@task(REPORT)
def report(context: TaskContext, params: Outcomes) -> Statuses:
    return Statuses(statuses=[outcome.status for outcome in params.outcomes], attempt=context.attempt)


TASKS: dict[str, TaskFunction[Any, Any]] = {}
registry.add(TASKS, list(globals().values()))
