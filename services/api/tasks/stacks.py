"""Asks the worker that runs a task for the call stacks of its body, which show the current line."""

import asyncio
import secrets
import time
from typing import Any
from uuid import UUID

from services.api.tasks.refusals import HoldsTheInterpreter, NoStackAnswer, TaskNotRunning
from services.api.tasks.stack_schemas import FrameAnswer, StackAnswer, TaskStacks
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.transport import control
from shared.transport.control import ShowStack, Stack
from shared.transport.queues import Queues

#: How long a worker may take to return the stacks. Together with the preceding queries to Postgres,
#: a request stays below 2 s.
ANSWER_S = 1.7
POLL_S = 0.05
#: A worker that has sent no heartbeat for this many seconds cannot run any Python code at the
#: moment. Normally, it sends one each second.
SILENT_S = 1.5

#: Finds the worker that holds a task, and how old its heartbeat is. The task's status does not have
#: to be started: if a task body blocks the interpreter from the beginning, the worker holds the
#: task but could not record its start.
HOLDER = Statement("""
    SELECT holder, status, (
        SELECT extract(epoch FROM clock_timestamp() - heartbeat_at)::float8 FROM worker WHERE id = holder
    ) AS silent_s
    FROM task WHERE id = :id
""")


async def ask(database: Database, queues: Queues, task_id: UUID) -> TaskStacks:
    """Return the call stacks of a task's body.

    Raises TaskNotRunning, HoldsTheInterpreter, NoStackAnswer or ServerUnavailable.
    """
    worker = (await _held(database, task_id))["holder"]
    stacks = await _answer(queues, task_id)
    if stacks is None:
        held = await _held(database, task_id)
        is_silent = held["holder"] == worker and held["silent_s"] > SILENT_S
        raise HoldsTheInterpreter(worker, held["silent_s"]) if is_silent else NoStackAnswer(worker)
    if not stacks:
        raise TaskNotRunning("claimed and not begun")
    return TaskStacks(task_id, worker, [_shown(stack) for stack in stacks])


async def _held(database: Database, task_id: UUID) -> dict[str, Any]:
    """Read which worker holds the task. Raises TaskNotRunning."""
    rows = await database.run(HOLDER, id=task_id)
    if not rows or rows[0]["holder"] is None:
        raise TaskNotRunning(rows[0]["status"] if rows else "gone")
    # The row of the worker was removed, so the task will soon be taken back from it
    if rows[0]["silent_s"] is None:
        raise TaskNotRunning("held by a worker that is gone")
    return rows[0]


async def _answer(queues: Queues, task_id: UUID) -> list[Stack] | None:
    question, ends = secrets.token_hex(16), time.monotonic() + ANSWER_S
    await control.announce(queues, ShowStack(task_id, question))
    while time.monotonic() < ends:
        stacks = await control.read_stacks(queues, question)
        if stacks is not None:
            return stacks
        await asyncio.sleep(POLL_S)
    return None


def _shown(stack: Stack) -> StackAnswer:
    frames = [FrameAnswer(frame.file, frame.line, frame.function, frame.code) for frame in stack.frames]
    return StackAnswer(stack.name, frames)
