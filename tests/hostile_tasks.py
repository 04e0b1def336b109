"""Task functions for tests. Their bodies harm their worker or try to."""

import asyncio
import multiprocessing
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from dramatiq.middleware import SkipMessage
from dramatiq.threading import Interrupt

from services.worker import registry
from services.worker.registry import TaskFunction, task
from shared.contracts.context import TaskContext
from shared.contracts.contract import Contract, Params, Result, Retries
from shared.contracts.hooks import Hooks
from tests.sample_tasks import ERRORS, INSTANT, SOON, Done, Fails, Nothing, Seconds


class Asks(Params):
    #: Name of the way in which the body uses the database: transaction, connection or wrapped.
    way: str


class Hoards(Params):
    megabytes: int


class Leaks(Params):
    megabytes: int


class Forks(Params):
    #: Path of the file to which the forked child process writes its process id.
    file: str
    seconds: float


class Nested(Result):
    value: Any


class FirstChild(Result):
    #: The task id that `context.submit` returned.
    id: str


RAISE = Contract(name="sample.raise", queue="default", params=Fails, result=Done, retries=SOON)
RAISE_ASYNC = Contract(name="sample.raise_async", queue="default", params=Fails, result=Done, retries=SOON)
NEST = Contract(name="sample.nest", queue="default", params=Nothing, result=Nested, retries=SOON)
LEAVE_LOOP = Contract(name="sample.leave_loop", queue="default", params=Fails, result=Done, retries=SOON)
HOARD = Contract(name="sample.hoard", queue="default", params=Hoards, result=Done, retries=SOON)
LEAK = Contract(name="sample.leak", queue="default", params=Leaks, result=Done)
FIRST_CHILD = Contract(
    name="sample.first_child", queue="default", params=Nothing, result=FirstChild, retries=SOON
)
BLOCK = Contract(name="sample.block", queue="default", params=Seconds, result=Done)
FORK = Contract(name="sample.fork", queue="default", params=Forks, result=Done)
LINGER = Contract(
    name="sample.linger",
    queue="default",
    params=Nothing,
    result=Done,
    retries=SOON,
    time_limit=timedelta(seconds=1),
)
CLEAN_UP = Contract(name="sample.clean_up", queue="default", params=Seconds, result=Done)
ASK = Contract(name="sample.ask", queue="default", params=Asks, result=Done, retries=Retries(max_attempts=1))
ASK_ASYNC = Contract(
    name="sample.ask_async", queue="default", params=Asks, result=Done, retries=Retries(max_attempts=1)
)
OVERSTAY = Contract(name="sample.overstay", queue="default", params=Nothing, result=Done)
WAIT_IN_LOOP = Contract(
    name="sample.wait_in_loop", queue="default", params=Nothing, result=Done, retries=Retries(max_attempts=1)
)


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Falsy(Exception):
    def __bool__(self) -> bool:
        raise RuntimeError("neither true nor false")


#: Functions that create unusual exceptions, by name: they are not derived from Exception, or they
#: behave strangely. A task body can raise them nevertheless.
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
    """Try to stop the event loop, first directly and then by an exception in another coroutine."""

    async def leave() -> None:
        raise ODDITIES[params.kind]()

    if context.attempt <= params.times:
        asyncio.get_running_loop().stop()
        await asyncio.get_running_loop().create_task(leave())
    return Done(attempt=context.attempt)


@task(HOARD)
def hoard(context: TaskContext, params: Hoards) -> Done:
    """Allocate much memory, and keep it until the worker process does something about it."""
    hoarded = b"x" * (params.megabytes * 2**20)
    while hoarded:
        threading.Event().wait(0.02)
    return Done(attempt=context.attempt)


LEAKED: list[bytes] = []


@task(LEAK)
def leak(context: TaskContext, params: Leaks) -> Done:
    """Allocate memory that is never freed."""
    LEAKED.append(b"x" * (params.megabytes * 2**20))
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
    """Fork a child process that outlives its worker. If the file exists, because it is a later
    attempt, fork none.
    """
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
    """Wait until the task is interrupted, clean up for some seconds, and then raise another
    error.
    """
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
    """Keep the transaction open after `complete_in` by waiting for a lock. The transaction also
    holds the lock on this task's row.
    """
    done = Done(attempt=context.attempt)
    async with context.transaction() as transaction:
        await context.complete_in(transaction, done)
        context.progress(1, 2)
        await context.database.run("SELECT pg_advisory_xact_lock(1)")
    return done


@task(WAIT_IN_LOOP)
async def wait_in_loop(context: TaskContext, params: Nothing) -> Done:
    """Make the event loop wait for a coroutine that only the event loop itself could run, which
    would never end.
    """
    context.wait_for(asyncio.sleep(0))
    return Done(attempt=context.attempt)


@task(LINGER)
def linger(context: TaskContext, params: Nothing) -> Done:
    """Submit a child task and succeed. The hook of this task does not return."""
    context.submit(INSTANT, Nothing())
    return Done(attempt=context.attempt)


def do_not_return(context: TaskContext, result: Done) -> None:
    context.log.info("the hook begins")
    threading.Event().wait()  # Without a time limit, this cannot be interrupted


TASKS: dict[str, TaskFunction[Any, Any]] = {}
registry.add(TASKS, [linger], Hooks(on_success=do_not_return))
registry.add(TASKS, list(globals().values()))
