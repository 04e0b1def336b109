"""Where a body is: the stack of its thread, and those of the asyncio tasks that belong to it. No values."""

import asyncio
import linecache
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import FrameType
from typing import Any
from uuid import UUID

from dramatiq.asyncio import get_event_loop_thread

from services.worker.claims.claim import Attempt
from shared.transport.control import Frame, Stack

#: The task whose body runs in this context. asyncio tasks that it starts inherit it.
BODY: ContextVar[UUID | None] = ContextVar("body", default=None)
#: Most frames of one stack: those furthest in.
MAX_FRAMES = 100
#: Most asyncio tasks of one body.
MAX_TASKS = 50


def of_body(attempt: Attempt) -> list[Stack]:
    """Called from the ledger loop, while the body runs on."""
    stacks = [_of_thread(attempt)]
    loop_thread = get_event_loop_thread()
    if loop_thread is not None:
        current = asyncio.current_task(loop_thread.loop)
        for task in _tasks_of(attempt, loop_thread.loop):
            is_running = task is current
            frames = _of_running(loop_thread.ident) if is_running else _of_waiting(task.get_coro())
            stacks.append(Stack(f"asyncio task {task.get_name()}", frames))
    return stacks


def _of_thread(attempt: Attempt) -> Stack:
    return Stack("thread of the body", _of_running(attempt.thread))


def _tasks_of(attempt: Attempt, loop: asyncio.AbstractEventLoop) -> list["asyncio.Task[Any]"]:
    """The task of an async body, and the tasks that it has started, which Python 3.12 and later can list."""
    found = [task for task in asyncio.all_tasks(loop) if _belongs(task, attempt)]
    return sorted(found, key=lambda task: (task.get_name() != str(attempt), task.get_name()))[:MAX_TASKS]


def _belongs(task: "asyncio.Task[Any]", attempt: Attempt) -> bool:
    if task.get_name() == str(attempt):
        return True
    context: Mapping[ContextVar[Any], Any] = getattr(task, "get_context", dict)()
    return context.get(BODY) == attempt.id


def _of_running(thread: int | None) -> list[Frame]:
    frame = sys._current_frames().get(thread or 0)
    if frame is None:
        return []
    return [_frame(each, line) for each, line in traceback.walk_stack(frame)][:MAX_FRAMES][::-1]


def _of_waiting(coroutine: Any) -> list[Frame]:
    """asyncio shows the outermost frame only; the others are what each coroutine awaits."""
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
