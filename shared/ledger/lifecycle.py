"""Defines the states of a task, and decides what follows a failed attempt.

All functions are pure: they use no clock, no randomness and no I/O.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from shared.contracts.contract import Contract, Retries
from shared.errors import (
    ExpectedError,
    InvalidFields,
    MemoryLimitExceeded,
    OutsideRefusal,
    PermanentError,
    ServerUnavailable,
    TimeLimitExceeded,
)


class Status(StrEnum):
    """The six states of a task. A task that is claimed but not started is still pending or retry."""

    PENDING = "pending"
    STARTED = "started"
    SUCCESS = "success"
    FAILURE = "failure"
    RETRY = "retry"
    REVOKED = "revoked"


#: States in which a task has ended. An ended task only runs again if an operator retries it, or if
#: its workflow repeats its step, which is also possible after a success.
FINAL = frozenset({Status.SUCCESS, Status.FAILURE, Status.REVOKED})

#: The states that may follow each state. A started task becomes pending again if its worker gives
#: it back.
TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.STARTED, Status.REVOKED, Status.FAILURE}),
    Status.STARTED: frozenset({Status.SUCCESS, Status.FAILURE, Status.RETRY, Status.REVOKED, Status.PENDING}),
    Status.RETRY: frozenset({Status.STARTED, Status.REVOKED, Status.FAILURE}),
    Status.SUCCESS: frozenset(),
    Status.FAILURE: frozenset(),
    Status.REVOKED: frozenset(),
}

#: Number of processes that a task must kill while it runs alone to fail permanently. It then does
#: not run again until an operator releases it.
CRASH_LIMIT = 3


class ErrorKind(StrEnum):
    """The kind of error by which an attempt failed. It is stored as `error_kind`."""

    #: The task body raised an error that was expected and is temporary.
    EXPECTED = "expected"
    #: The task body raised an error after which a retry would fail in the same way.
    PERMANENT = "permanent"
    #: The task body reported that an outside service refused for a legitimate reason, such as a
    #: declined card. Objectives do not count this as a failure.
    REFUSED = "refused"
    #: The task body raised an error that was not expected, so it is a defect.
    BUG = "bug"
    #: The task's deadline passed before it started.
    EXPIRED = "expired"
    #: The task repeatedly killed the worker process that ran it.
    CRASH_LOOP = "crash_loop"
    #: The result that the task body returned cannot be stored.
    UNSTORABLE = "unstorable"
    #: The attempt exceeded the time limit of its contract.
    TIME_LIMIT = "time_limit"
    #: The task body made its worker process use more memory than OFTEN_WORKER_MAX_MEMORY_MB.
    MEMORY = "memory"
    #: The worker process died during the attempt.
    WORKER_DIED = "worker_died"


#: Kinds of errors after which a task is not retried, because another attempt would end in the same
#: way.
NEVER_RETRIED = frozenset(
    {
        *(ErrorKind.PERMANENT, ErrorKind.REFUSED, ErrorKind.UNSTORABLE),
        *(ErrorKind.EXPIRED, ErrorKind.CRASH_LOOP),
    }
)

#: Beginning of the stored reason why a task waits if no running worker knows its name or version.
#: Such a task is called parked.
UNKNOWN_TO_WORKERS = "no worker knows"

#: Error message of a task that expired while it waited. It is the same whichever process notices
#: the expiry.
EXPIRED_MESSAGE = "its expires_at passed before a worker was free; submit it again if it is still wanted"


@dataclass(frozen=True, slots=True)
class Retry:
    """The decision to try a task again after `delay`."""

    delay: timedelta


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The decision that a task has failed permanently.

    `reason` says why no further attempt follows.
    """

    reason: str


def classify(error: BaseException, contract: Contract[Any, Any]) -> ErrorKind:
    """Return the kind of an error that a task body raised."""
    if isinstance(error, TimeLimitExceeded):
        return ErrorKind.TIME_LIMIT
    if isinstance(error, MemoryLimitExceeded):
        return ErrorKind.MEMORY
    if isinstance(error, OutsideRefusal):
        return ErrorKind.REFUSED
    if isinstance(error, (PermanentError, InvalidFields, *contract.permanent)):
        return ErrorKind.PERMANENT
    if isinstance(error, (ExpectedError, ServerUnavailable, *contract.expected)):
        return ErrorKind.EXPECTED
    return ErrorKind.BUG


def plan_retry(
    retries: Retries,
    *,
    failures: int,
    max_attempts: int,
    kind: ErrorKind,
    spread: float,
    asked_s: float | None = None,
    or_later: bool = False,
) -> Retry | GiveUp:
    """Decide whether a task is retried after its `failures`-th failed attempt, and when.

    `spread` is a random number from 0 to 1. `asked_s` is the delay that the task body requested. If
    `or_later` is set, the requested delay is only a minimum.
    """
    if kind in NEVER_RETRIED:
        return GiveUp(f"{kind}: a retry would end the same way")
    if failures >= max_attempts:
        return GiveUp(f"attempts used up: {failures} of {max_attempts}")
    grown = backoff(retries, failures=failures, spread=spread)
    asked = grown if asked_s is None else timedelta(seconds=asked_s)
    return Retry(max(asked, grown) if or_later else asked)


def backoff(retries: Retries, *, failures: int, spread: float) -> timedelta:
    """The delay of a retry: `delay · factor^(failures-1)`, at most `cap`, varied by ± `jitter`."""
    seconds = retries.cap.total_seconds()
    # A power that is too large for a float is also larger than any cap.
    with suppress(OverflowError):
        grown = retries.delay.total_seconds() * float(retries.factor) ** (failures - 1)
        seconds = min(grown, seconds)
    return timedelta(seconds=seconds * (1 + retries.jitter * (2 * spread - 1)))
