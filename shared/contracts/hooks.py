"""Defines hooks: functions of an application that the worker calls around each of its tasks.

Example: `HOOKS = Hooks(on_failure=tell_the_desk, around=timed)`.

A hook runs in the worker, in the task's thread. An error in a hook is logged and does not affect
the task. The exception is `around`, which counts as a part of the task body.
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
    """The hooks that an application registers as `Application.hooks`.

    Hooks are plain functions (not async) and should be short. Those named `on_…` run after the
    outcome is decided and before it is recorded. If a task runs again after a crash, its hooks are
    called again. Their time counts toward the time limit of the task: a hook that does not return is
    interrupted like a task body, and the outcome stays.
    """

    #: Called after the task has succeeded, with its result.
    on_success: OnSuccess | None = None
    #: Called after the task has failed permanently, with the error.
    on_failure: OnFailure | None = None
    #: Called after an attempt has failed and before the task is retried, with the error and the
    #: delay before the next attempt.
    on_retry: OnRetry | None = None
    #: Takes the task's parameters and returns a context manager, inside which the task body runs.
    around: Around | None = None


NO_HOOKS = Hooks()
