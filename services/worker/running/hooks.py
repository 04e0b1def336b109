"""Calls the hooks of an application, which are functions that run after each attempt of a task.

An error in a hook is logged and never changes the outcome of the task. A hook counts toward the
time limit of its task, and is interrupted like a task body.
"""

import logging
import time
from datetime import timedelta
from typing import Any

from services.worker.claims.claim import Attempt
from services.worker.running.interrupts import interruptible
from shared.contracts.hooks import Hooks
from shared.ledger.lifecycle import Status

log = logging.getLogger(__name__)


def call(hooks: Hooks, attempt: Attempt, error: BaseException | None) -> None:
    """Call the application's hook for this outcome (success, retry or failure), if it has one."""
    outcome = attempt.outcome
    if outcome is None or attempt.context is None:
        return
    hook: Any = None
    arguments: tuple[Any, ...] = ()
    if outcome.status is Status.SUCCESS:
        hook, arguments = hooks.on_success, (attempt.returned,)
    elif outcome.status is Status.FAILURE:
        hook, arguments = hooks.on_failure, (error,)
    elif outcome.status is Status.RETRY and outcome.wait_s is not None:
        hook, arguments = hooks.on_retry, (error, timedelta(seconds=outcome.wait_s))
    if hook is None:
        return
    attempt.hook_monotonic = time.monotonic()
    try:
        with interruptible(attempt):
            hook(attempt.context, *arguments)
    except BaseException:
        log.exception("a hook of a task failed; the task's outcome is unchanged", extra=attempt.fields)
