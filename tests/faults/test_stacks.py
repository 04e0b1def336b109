"""Tests, with real processes, that an operator can read the stack of a running task body."""

import time
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import httpx

from shared.contracts.contract import Contract
from tests.eventually import eventually
from tests.hostile_tasks import BLOCK
from tests.platform import Platform
from tests.sample_tasks import HOG, INSTANT, WAIT, WAIT_ASYNC, Nothing, Seconds

#: Seconds within which the API must answer, whether or not the worker can report the stack.
LIMIT_S = 2.5
#: Task bodies that stay at one line, with the function and the line that the stack must show. The
#: first waits in a thread, the second awaits, and the third blocks the event loop.
BODIES: list[tuple[Contract[Any, Any], str, str]] = [
    (WAIT, "wait", "threading.Event().wait(0.02)"),
    (WAIT_ASYNC, "wait_async", "await asyncio.wait"),
    (BLOCK, "block", "time.sleep(params.seconds)"),
]


async def test_the_stack_of_a_body_shows_its_line(platform: Platform, operator: httpx.AsyncClient) -> None:
    (waiting,) = await platform.submit(INSTANT, Nothing(), delay=timedelta(hours=1))
    refused = await operator.get(f"tasks/{waiting}/stack")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:often:problem:task-not-running")

    await platform.start_worker()
    for contract, function, code in BODIES:
        (task_id,) = await platform.submit(contract, Seconds(seconds=60))
        await platform.until(task_id, "started")
        await eventually(partial(_shows, operator, task_id, function, code))


async def test_a_body_that_holds_the_interpreter_has_no_stack_to_show(
    platform: Platform, operator: httpx.AsyncClient
) -> None:
    await platform.start_worker()
    (task_id,) = await platform.submit(HOG, Nothing())
    await eventually(lambda: _held(platform, task_id))
    began = time.monotonic()
    answer = await operator.get(f"tasks/{task_id}/stack")
    assert time.monotonic() - began < LIMIT_S
    assert answer.status_code == 504
    assert answer.json()["type"] == "urn:often:problem:holds-the-interpreter"


async def _shows(operator: httpx.AsyncClient, task_id: UUID, function: str, code: str) -> bool:
    """Whether the stack of the task contains this line of code. The body may not have reached it
    yet.
    """
    answer = await operator.get(f"tasks/{task_id}/stack")
    assert answer.status_code == 200, answer.text
    frames = [frame for stack in answer.json()["stacks"] for frame in stack["frames"]]
    return any(f["function"] == function and f["code"].startswith(code) for f in frames)


async def _held(platform: Platform, task_id: UUID) -> bool:
    return (await platform.task(task_id))["holder"] is not None
