"""`python -m tests.drill.worker`: the worker of the drill. For each task body that returns a
result, it writes the task's id to a file.

The database cannot tell how often a body has run, because a body whose outcome was dropped leaves
no trace there.
"""

import functools
import inspect
import os
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

from services.worker import registry
from services.worker.__main__ import main
from services.worker.registry import TaskFunction
from shared.applications import PLATFORM
from shared.contracts.context import TaskContext
from tests.sample_tasks import TASKS

#: Name of the environment variable that contains the path of the file.
RETURNED = "DRILL_RETURNED"


def returned(path: Path) -> Counter[UUID]:
    """How often the body of each task has returned a result, according to the file."""
    return Counter(UUID(line) for line in path.read_text().splitlines()) if path.exists() else Counter()


def _noting(
    file: int, function: Callable[[TaskContext, Any], Any]
) -> Callable[[TaskContext, Any], Any | Awaitable[Any]]:
    @functools.wraps(function)
    def plain(context: TaskContext, params: Any) -> Any:
        result = function(context, params)
        os.write(file, f"{context.id}\n".encode())
        return result

    @functools.wraps(function)
    async def asynchronous(context: TaskContext, params: Any) -> Any:
        result = await function(context, params)
        os.write(file, f"{context.id}\n".encode())
        return result

    return asynchronous if inspect.iscoroutinefunction(function) else plain


def _tasks() -> dict[str, TaskFunction[Any, Any]]:
    # Both workers of the drill write to the same file. With O_APPEND, no line overwrites another.
    file = os.open(os.environ[RETURNED], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    tasks = registry.load([PLATFORM]) | TASKS
    return {name: replace(task, function=_noting(file, task.function)) for name, task in tasks.items()}


if __name__ == "__main__":
    sys.exit(main(_tasks()))
