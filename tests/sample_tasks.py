"""Tasks that only tests have: every way in which a body can behave."""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from dramatiq.middleware import SkipMessage
from dramatiq.threading import Interrupt

from services.worker import registry
from services.worker.registry import TaskFunction, task
from shared.contracts.context import TaskContext
from shared.contracts.contract import Contract, Params, Result, Retries
from shared.contracts.sensitivity import SENSITIVE
from shared.errors import ExpectedError, PermanentError, Retry

SOON = Retries(max_attempts=3, delay=timedelta(milliseconds=50), factor=1.0)


class Nothing(Params):
    pass


class Seconds(Params):
    seconds: float


class Fails(Params):
    kind: str
    #: Attempts that fail before one succeeds.
    times: int = 1_000


class Spawns(Params):
    children: int
    at_once: bool = False
    then_fail: bool = False


class Pay(Params):
    card: Annotated[str, SENSITIVE]


class Paid(Result):
    receipt: Annotated[str, SENSITIVE]


class Asks(Params):
    #: How the body uses the database.
    way: str


class Hoards(Params):
    megabytes: int


class Forks(Params):
    #: Where the child writes its process id.
    file: str
    seconds: float


class Nested(Result):
    value: Any


class FirstChild(Result):
    #: What `context.submit` returned.
    id: str


class Slept(Result):
    seconds: float


class Done(Result):
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
#: It was `sample.nap` in the queue `naps`, took minutes in version 1 and `wait_s` in version 2.
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

RAISE = Contract(name="sample.raise", queue="default", params=Fails, result=Done, retries=SOON)
RAISE_ASYNC = Contract(name="sample.raise_async", queue="default", params=Fails, result=Done, retries=SOON)
NEST = Contract(name="sample.nest", queue="default", params=Nothing, result=Nested, retries=SOON)
LEAVE_LOOP = Contract(name="sample.leave_loop", queue="default", params=Fails, result=Done, retries=SOON)
HOARD = Contract(name="sample.hoard", queue="default", params=Hoards, result=Done, retries=SOON)
FIRST_CHILD = Contract(
    name="sample.first_child", queue="default", params=Nothing, result=FirstChild, retries=SOON
)
BLOCK = Contract(name="sample.block", queue="default", params=Seconds, result=Done)
FORK = Contract(name="sample.fork", queue="default", params=Forks, result=Done)
CLEAN_UP = Contract(name="sample.clean_up", queue="default", params=Seconds, result=Done)
ASK = Contract(name="sample.ask", queue="default", params=Asks, result=Done, retries=Retries(max_attempts=1))
ASK_ASYNC = Contract(
    name="sample.ask_async", queue="default", params=Asks, result=Done, retries=Retries(max_attempts=1)
)
OVERSTAY = Contract(name="sample.overstay", queue="default", params=Nothing, result=Done)

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
    # In steps, so that an interrupt finds a bytecode to hit.
    ends = time.monotonic() + params.seconds
    while time.monotonic() < ends and not context.cancelled:
        threading.Event().wait(0.02)
    return Done(attempt=context.attempt)


@task(WAIT_ASYNC)
async def wait_async(context: TaskContext, params: Seconds) -> Done:
    """Never looks whether it was cancelled."""
    await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=params.seconds)
    return Done(attempt=context.attempt)


@task(SPIN)
def spin(context: TaskContext, params: Seconds) -> Done:
    """Hold the GIL in one C call after the other."""
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
    """Insert a row without any constraint, in one transaction with the success."""
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


@task(LATER)
def later(context: TaskContext, params: Seconds) -> Done:
    if context.attempt == 1:
        raise Retry("not yet", delay_s=params.seconds)
    if context.attempt == 2:
        raise Retry("nor now", at=datetime.now(UTC) + timedelta(seconds=params.seconds))
    return Done(attempt=context.attempt)


@task(HOG)
def hog(context: TaskContext, params: Nothing) -> Done:
    """One C call that keeps the interpreter for hours: a pattern that backtracks without end."""
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
    """Swallows whatever is raised in it."""
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
    """Say the secret wherever a careless body could."""
    context.progress(1, 2, f"paying with {params.card}")
    context.log.info("the card is %s", params.card)
    logging.getLogger("some.library").warning("request with %r failed", {"card": params.card})
    if context.attempt == 1:
        raise ConnectionError(f"refused: {params.card!r}")
    return Paid(receipt=f"paid with {params.card}")


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Falsy(Exception):
    def __bool__(self) -> bool:
        raise RuntimeError("neither true nor false")


#: Exceptions that are no plain Exception, or behave unlike one. A body may raise them all the same.
ODDITIES: dict[str, Callable[[], BaseException]] = {
    "exit": lambda: SystemExit(3),
    "keyboard": KeyboardInterrupt,
    "generator": GeneratorExit,
    "canceled": asyncio.CancelledError,
    "skip": SkipMessage,
    "interrupt": Interrupt,
    "mute": Mute,
    "falsy": Falsy,
    "huge": lambda: RuntimeError("x" * 20_000_000),
}


@task(RAISE)
def raise_oddity(context: TaskContext, params: Fails) -> Done:
    if context.attempt <= params.times:
        raise ODDITIES[params.kind]()
    return Done(attempt=context.attempt)


@task(RAISE_ASYNC)
async def raise_oddity_async(context: TaskContext, params: Fails) -> Done:
    if context.attempt <= params.times:
        raise ODDITIES[params.kind]()
    return Done(attempt=context.attempt)


@task(NEST)
def nest(context: TaskContext, params: Nothing) -> Nested:
    value: list[Any] = []
    for _ in range(5_000):
        value = [value]
    return Nested(value=value)


@task(LEAVE_LOOP)
async def leave_loop(context: TaskContext, params: Fails) -> Done:
    """Try to end the loop from outside of the body's own coroutine."""

    async def leave() -> None:
        raise ODDITIES[params.kind]()

    if context.attempt <= params.times:
        asyncio.get_running_loop().stop()
        await asyncio.get_running_loop().create_task(leave())
    return Done(attempt=context.attempt)


@task(HOARD)
def hoard(context: TaskContext, params: Hoards) -> Done:
    """Fill the memory and hold on to it until the process does something about that."""
    hoarded = b"x" * (params.megabytes * 2**20)
    while hoarded:
        threading.Event().wait(0.02)
    return Done(attempt=context.attempt)


@task(FIRST_CHILD)
def first_child(context: TaskContext, params: Nothing) -> FirstChild:
    child = context.submit(INSTANT, Nothing(), at_once=True)
    if context.attempt == 1:
        raise ERRORS["expected"]
    return FirstChild(id=str(child))


@task(BLOCK)
async def block(context: TaskContext, params: Seconds) -> Done:
    time.sleep(params.seconds)  # noqa: ASYNC251 - what a body must not do
    return Done(attempt=context.attempt)


@task(FORK)
def fork(context: TaskContext, params: Forks) -> Done:
    """Fork a child that outlives its worker; a later attempt forks none."""
    if not Path(params.file).exists():
        child = multiprocessing.get_context("fork").Process(target=_sleep, args=(params.seconds,))
        child.start()
        Path(params.file).write_text(str(child.pid))
        child.join()
    return Done(attempt=context.attempt)


def _sleep(seconds: float) -> None:
    time.sleep(seconds)


@task(CLEAN_UP)
async def clean_up(context: TaskContext, params: Seconds) -> Done:
    """Clean up for some seconds after an interrupt, then raise another error."""
    if context.attempt > 1:
        return Done(attempt=context.attempt)
    try:
        await asyncio.wait([asyncio.get_running_loop().create_future()])
    finally:
        await asyncio.sleep(params.seconds)
        raise RuntimeError("what it cleaned up was gone already")
    raise AssertionError("unreachable")


@task(ASK)
def ask(context: TaskContext, params: Asks) -> Done:
    context.wait_for(context.database.run("SELECT 1"))
    return Done(attempt=context.attempt)


@task(ASK_ASYNC)
async def ask_async(context: TaskContext, params: Asks) -> Done:
    match params.way:
        case "transaction":
            async with context.transaction():
                await context.database.run("SELECT 1")
        case "connection":
            await (await context.database.connect()).close()
        case "wrapped":
            try:
                await context.database.run("SELECT 1")
            except Exception as error:
                raise RuntimeError("the shop is closed") from error
    return Done(attempt=context.attempt)


@task(OVERSTAY)
async def overstay(context: TaskContext, params: Nothing) -> Done:
    """Hold the transaction open after `complete_in` for as long as the row of this task is locked by it."""
    done = Done(attempt=context.attempt)
    async with context.transaction() as transaction:
        await context.complete_in(transaction, done)
        context.progress(1, 2)
        await context.database.run("SELECT pg_advisory_xact_lock(1)")
    return done


WAIT_IN_LOOP = Contract(
    name="sample.wait_in_loop", queue="default", params=Nothing, result=Done, retries=Retries(max_attempts=1)
)


@task(WAIT_IN_LOOP)
async def wait_in_loop(context: TaskContext, params: Nothing) -> Done:
    """Ask the loop to wait for itself."""
    context.wait_for(asyncio.sleep(0))
    return Done(attempt=context.attempt)


TASKS: dict[str, TaskFunction[Any, Any]] = {}
registry.add(TASKS, list(globals().values()))
