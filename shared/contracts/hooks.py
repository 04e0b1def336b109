"""Functions that an application has called around its tasks, whichever of them it is.

    HOOKS = Hooks(on_failure=tell_the_desk, around=timed)

A hook runs in the worker, in the thread of the task. What a hook raises is logged and changes nothing about
the task, except in `around`, which is part of the body.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from shared.contracts.context import TaskContext

OnSuccess = Callable[[TaskContext, Any], None]
OnFailure = Callable[[TaskContext, BaseException], None]
OnRetry = Callable[[TaskContext, BaseException, timedelta], None]
Around = Callable[[TaskContext, Any], AbstractContextManager[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What an application registers as `Application.hooks`. Hooks are plain functions, and should be short.

    They run when the outcome is decided and before it is recorded. A task that runs again after a crash
    calls them again.
    """

    #: Given the result.
    on_success: OnSuccess | None = None
    #: Given the error; no further attempt follows.
    on_failure: OnFailure | None = None
    #: Given the error and how long the next attempt waits.
    on_retry: OnRetry | None = None
    #: Makes the context manager in which a plain body runs, or in which an async body is awaited, given the
    #: parameters.
    around: Around | None = None


NO_HOOKS = Hooks()
