"""Asks the worker that runs a task where its body is."""

import asyncio
import secrets
import time
from typing import Any
from uuid import UUID

from services.api.operations.refusals import HoldsTheInterpreter, NoStackAnswer, TaskNotRunning
from services.api.operations.schemas import FrameAnswer, StackAnswer, TaskStacks
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.transport import control
from shared.transport.control import ShowStack, Stack
from shared.transport.queues import Queues

#: How long a worker has to answer. With the questions to Postgres around it this stays below 2 s.
ANSWER_S = 1.7
POLL_S = 0.05
#: A worker beats each second. One that has not for this long does not come to run any Python of its own.
SILENT_S = 1.5

#: A body that keeps the interpreter from its first moment on is not recorded as started, but it is held.
HOLDER = Statement("""
    SELECT holder, status, (
        SELECT extract(epoch FROM clock_timestamp() - heartbeat_at)::float8 FROM worker WHERE id = holder
    ) AS silent_s
    FROM task WHERE id = :id
""")


async def ask(database: Database, queues: Queues, task_id: UUID) -> TaskStacks:
    """The stacks of a task's body.

    Raises TaskNotRunning, HoldsTheInterpreter, NoStackAnswer or ServerUnavailable.
    """
    worker = (await _held(database, task_id))["holder"]
    stacks = await _answer(queues, task_id)
    if stacks is None:
        silent_s = (await _held(database, task_id))["silent_s"]
        raise HoldsTheInterpreter(worker, silent_s) if silent_s > SILENT_S else NoStackAnswer(worker)
    if not stacks:
        raise TaskNotRunning("claimed and not begun")
    return TaskStacks(task_id, worker, [_shown(stack) for stack in stacks])


async def _held(database: Database, task_id: UUID) -> dict[str, Any]:
    """Raises TaskNotRunning."""
    rows = await database.run(HOLDER, id=task_id)
    if not rows or rows[0]["holder"] is None:
        raise TaskNotRunning(rows[0]["status"] if rows else "gone")
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
