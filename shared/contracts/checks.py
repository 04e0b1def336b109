"""Checks the arguments that a task body passes to the methods of its context.

The context of the worker and the one for tests share these checks. If an argument breaks a rule,
the call in the task body raises InvalidFields.
"""

import asyncio
import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from shared.contracts.context import Flow
from shared.contracts.contract import HIGHEST_PRIORITY, LOWEST_PRIORITY, Contract
from shared.errors import MAX_DELAY, FieldProblem, InvalidFields

#: Largest value of PostgreSQL's type `integer`, which stores the progress of a task.
MAX_PROGRESS = 2**31 - 1
MAX_KEY_CHARS = 255
#: Maximum number of child tasks of one attempt. To create more, submit several tasks that each
#: submit a part of them.
MAX_CHILDREN = 10_000
#: Maximum number of workflows that one attempt may start, because each start is a separate
#: transaction.
MAX_STARTS = 1_000

_KEY_RULE = f"must be text of 1 to {MAX_KEY_CHARS} characters without NUL"


def progress(current: Any, total: Any, message: Any) -> None:
    """Check the arguments of `context.progress`."""
    problems = []
    if not _is_whole(current, 0, MAX_PROGRESS):
        problems.append(FieldProblem("progress.current", f"must be a whole number from 0 to {MAX_PROGRESS}"))
    if total is not None and not _is_whole(total, 1, MAX_PROGRESS):
        problems.append(FieldProblem("progress.total", f"must be a whole number from 1 to {MAX_PROGRESS}"))
    if message is not None and not isinstance(message, str):
        problems.append(FieldProblem("progress.message", f"must be text, not {type(message).__name__}"))
    if problems:
        raise InvalidFields(problems)


def coroutine(work: Any) -> None:
    """Check the argument of `context.wait_for`."""
    if not asyncio.iscoroutine(work):
        rule = f"must be a coroutine, as an async function returns it, not {type(work).__name__}"
        raise InvalidFields([FieldProblem("wait_for.work", rule)])


def child(contract: Any, params: Any, *, key: Any, delay: Any, priority: Any, number: int) -> None:
    """Check the arguments of `context.submit`.

    `number` says which child task of the attempt this is, counted from 1.
    """
    if not isinstance(contract, Contract):
        raise InvalidFields(
            [FieldProblem("submit.contract", f"must be a contract, not {type(contract).__name__}")]
        )
    problems = list(_broken_by_child(contract, params, key, delay, priority))
    if number > MAX_CHILDREN:
        rule = f"one attempt may submit {MAX_CHILDREN} children; submit several tasks that each submit a part"
        problems.append(FieldProblem("submit", rule))
    if problems:
        raise InvalidFields(problems)


def start(flow: Any, *, key: Any, owner: int | None, number: int) -> None:
    """Check the arguments of `context.start`.

    `number` says which workflow of the attempt this is, counted from 1.
    """
    problems = []
    if key is not None and not _is_key(key):
        problems.append(FieldProblem("start.key", _KEY_RULE))
    if not isinstance(flow, Flow):
        problems.append(FieldProblem("start.flow", f"must be a Workflow, not {type(flow).__name__}"))
    elif flow.owner not in (None, owner):
        problems.append(FieldProblem("start.flow", "must have no owner: it belongs to the owner of the task"))
    if number > MAX_STARTS:
        rule = f"one attempt may start {MAX_STARTS} workflows; submit several tasks that each start a part"
        problems.append(FieldProblem("start", rule))
    if problems:
        raise InvalidFields(problems)


def _broken_by_child(
    contract: Contract[Any, Any], params: Any, key: Any, delay: Any, priority: Any
) -> Iterator[FieldProblem]:
    if not isinstance(params, contract.params):
        rule = f"must be {contract.params.__name__}, not {type(params).__name__}"
        yield FieldProblem("submit.params", rule)
    if priority is not None and not _is_whole(priority, LOWEST_PRIORITY, HIGHEST_PRIORITY):
        yield FieldProblem("submit.priority", "must be between 0 and 9; 9 is served first")
    if delay is not None and not _is_delay(delay):
        yield FieldProblem("submit.delay", "must be a timedelta between 0 and 366 days")
    if key is not None and not _is_key(key):
        yield FieldProblem("submit.key", _KEY_RULE)


def _is_delay(value: Any) -> bool:
    return isinstance(value, timedelta) and timedelta(0) <= value <= MAX_DELAY


def _is_key(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_KEY_CHARS and "\x00" not in value


def attempt_logger(name: str, handler: logging.Handler) -> logging.Logger:
    """Create the logger of one attempt, which passes its lines to `handler` and to the process'
    log.

    If the arguments of a log call do not fit its text, `logging` reports this as usual, and the
    call does not raise.
    """
    # The logger is not created with `logging.getLogger`, which would keep it in memory after the
    # attempt has ended.
    logger = logging.Logger(f"task.{name}", logging.DEBUG)
    logger.addHandler(handler)
    return logger


def _is_whole(value: Any, lowest: int, highest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest
