"""The states of a task and what follows an attempt. Pure: no clock, no randomness, no I/O of its own."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from shared.contracts.contract import Contract, Retries
from shared.errors import (
    ExpectedError,
    InvalidFields,
    MemoryLimitExceeded,
    PermanentError,
    ServerUnavailable,
    TimeLimitExceeded,
)


class Status(StrEnum):
    """The six states. Claimed but not started is still pending or retry."""

    PENDING = "pending"
    STARTED = "started"
    SUCCESS = "success"
    FAILURE = "failure"
    RETRY = "retry"
    REVOKED = "revoked"


#: Changed only by an operator's explicit retry; a success only where a workflow repeats its step.
FINAL = frozenset({Status.SUCCESS, Status.FAILURE, Status.REVOKED})

#: What may follow a state; giving a task back leads from started to pending.
TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.STARTED, Status.REVOKED, Status.FAILURE}),
    Status.STARTED: frozenset({Status.SUCCESS, Status.FAILURE, Status.RETRY, Status.REVOKED, Status.PENDING}),
    Status.RETRY: frozenset({Status.STARTED, Status.REVOKED, Status.FAILURE}),
    Status.SUCCESS: frozenset(),
    Status.FAILURE: frozenset(),
    Status.REVOKED: frozenset(),
}

#: A task that killed this many processes in which it ran alone is given up until an operator releases it.
CRASH_LIMIT = 3


class ErrorKind(StrEnum):
    """Why an attempt failed, as stored in `error_kind`."""

    #: Foreseen and passing.
    EXPECTED = "expected"
    #: A retry would end the same way.
    PERMANENT = "permanent"
    #: Nobody foresaw it: a defect.
    BUG = "bug"
    #: Its deadline passed before it started.
    EXPIRED = "expired"
    #: It killed its process again and again.
    CRASH_LOOP = "crash_loop"
    #: The result can't be stored.
    UNSTORABLE = "unstorable"
    #: It ran longer than its contract allows.
    TIME_LIMIT = "time_limit"
    #: It made its worker larger than OFTEN_WORKER_MAX_MEMORY_MB.
    MEMORY = "memory"
    #: The process died with it.
    WORKER_DIED = "worker_died"


#: Of a task that expired while it waited, whoever notices.
EXPIRED_MESSAGE = "its expires_at passed before a worker was free; submit it again if it is still wanted"


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again after `delay`."""

    delay: timedelta


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Fail for good; `reason` says why no further attempt follows."""

    reason: str


def classify(error: BaseException, contract: Contract[Any, Any]) -> ErrorKind:
    """Sort an error that a task's body raised."""
    if isinstance(error, TimeLimitExceeded):
        return ErrorKind.TIME_LIMIT
    if isinstance(error, MemoryLimitExceeded):
        return ErrorKind.MEMORY
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
    """Decide after the `failures`-th failed attempt.

    `spread` is a random number from 0 to 1; `asked_s` is when the body itself wants to try again, or, with
    `or_later`, not before.
    """
    if kind in (ErrorKind.PERMANENT, ErrorKind.UNSTORABLE, ErrorKind.EXPIRED, ErrorKind.CRASH_LOOP):
        return GiveUp(f"{kind}: a retry would end the same way")
    if failures >= max_attempts:
        return GiveUp(f"attempts used up: {failures} of {max_attempts}")
    grown = backoff(retries, failures=failures, spread=spread)
    asked = grown if asked_s is None else timedelta(seconds=asked_s)
    return Retry(max(asked, grown) if or_later else asked)


def backoff(retries: Retries, *, failures: int, spread: float) -> timedelta:
    """`delay · factor^(failures-1)`, at most `cap`, moved by up to ± `jitter` of itself."""
    # 64 doublings exceed any cap; the bound keeps the power finite.
    grown = retries.delay.total_seconds() * retries.factor ** min(failures - 1, 64)
    seconds = min(grown, retries.cap.total_seconds())
    return timedelta(seconds=seconds * (1 + retries.jitter * (2 * spread - 1)))
