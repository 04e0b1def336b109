"""Shows what a running task body executes: the stacks of its thread and its asyncio tasks.

The values of variables are left out.
"""

import asyncio
import linecache
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import FrameType
from typing import Any, TypeAlias
from uuid import UUID

from dramatiq.asyncio import get_event_loop_thread

from services.worker.claims.claim import Attempt
from shared.transport.control import Frame, Stack

#: Id of the task whose body runs in this context. asyncio tasks that the body creates inherit it.
BODY: ContextVar[UUID | None] = ContextVar("body", default=None)
#: Maximum number of frames that are shown per stack. Of a deeper stack, the innermost frames are
#: shown.
MAX_FRAMES = 100
#: Maximum number of asyncio tasks whose stacks are shown for one task body.
MAX_TASKS = 50

#: A stack: its frames, each with the number of the line that it is executing.
Lines: TypeAlias = list[tuple[FrameType, int]]


def of_body(attempt: Attempt) -> list[Stack]:
    """The stacks of a running task body. Called while the body continues.

    It is called from the ledger loop, the worker's event loop for Postgres and Redis.
    """
    stacks = [Stack("thread of the body", _of_running(lines_of_thread(attempt)))]
    loop_thread = get_event_loop_thread()
    if loop_thread is not None:
        for task in _tasks_of(attempt, loop_thread.loop):
            frames = _of_task(task, loop_thread.loop, loop_thread.ident)
            stacks.append(Stack(f"asyncio task {task.get_name()}", frames))
    return stacks


def lines_of_thread(attempt: Attempt) -> Lines:
    """The stack of the thread that runs a task body, innermost frame first.

    Empty if the body has ended. The lock `attempt.slot` keeps the body from ending while its stack
    is read. Otherwise, its thread could already run the body of another task.
    """
    with attempt.slot:
        return _walked(attempt.thread)


def _tasks_of(attempt: Attempt, loop: asyncio.AbstractEventLoop) -> list["asyncio.Task[Any]"]:
    """The asyncio task that runs a task body, and the asyncio tasks that the body has created.

    The created tasks can only be found with Python 3.12 and later.
    """
    found = [task for task in asyncio.all_tasks(loop) if _belongs(task, attempt)]
    return sorted(found, key=lambda task: (task.get_name() != str(attempt), task.get_name()))[:MAX_TASKS]


def _of_task(task: "asyncio.Task[Any]", loop: asyncio.AbstractEventLoop, thread: int | None) -> list[Frame]:
    """The frames of an asyncio task, read while the event loop continues to run.

    The stack of the loop's thread is the stack of this task only if the task was the loop's current
    task both before and after the stack was read. Otherwise, the task is waiting.
    """
    if asyncio.current_task(loop) is task:
        lines = _walked(thread)
        if asyncio.current_task(loop) is task:
            return _of_running(lines)
    return _of_waiting(task.get_coro())


def _belongs(task: "asyncio.Task[Any]", attempt: Attempt) -> bool:
    if task.get_name() == str(attempt):
        return True
    context: Mapping[ContextVar[Any], Any] = getattr(task, "get_context", dict)()
    return context.get(BODY) == attempt.id


def _walked(thread: int | None) -> Lines:
    frame = sys._current_frames().get(thread or 0)
    return [] if frame is None else list(traceback.walk_stack(frame))


def _of_running(lines: Lines) -> list[Frame]:
    return [_frame(frame, line) for frame, line in lines[:MAX_FRAMES][::-1]]


def _of_waiting(coroutine: Any) -> list[Frame]:
    """The frames of a coroutine that is waiting.

    asyncio shows only the outermost frame. The others are found by following what each coroutine
    awaits.
    """
    return [_frame(frame, frame.f_lineno) for frame in _awaited(coroutine)][-MAX_FRAMES:]


def _awaited(coroutine: Any) -> Iterator[FrameType]:
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is None:
            return
        yield frame
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)


def _frame(frame: FrameType, line: int | None) -> Frame:
    code, number = frame.f_code, line or 0
    text = linecache.getline(code.co_filename, number, frame.f_globals).strip()
    return Frame(code.co_filename, number, code.co_qualname, text)
