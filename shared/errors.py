"""Defines the hierarchy of errors that one module raises and other modules handle.

OftenError
├── SettingsError              a process refuses to start
├── Refused                    the caller's input breaks a rule; nothing was stored
│   ├── InvalidFields          names each field and its rule
│   ├── UnknownTask            no contract of that name
│   ├── KeyReused              this key was used for another submission
│   ├── WorkflowExists         an unfinished workflow has this name and unique key
│   └── WorkersTooOld          a running worker of an older release could not run it
├── TaskNotFound               no task has this id, or it is not the caller's
├── TaskFinished               the task is final and cannot be changed
├── StaleClaim                 another claim owns the task now, so this transaction is undone
├── VaultError                 a sensitive field cannot be decrypted: no key, or the row was changed
├── ServerUnavailable          Postgres or Redis cannot serve a request now, but may later
│   ├── ServerAway             the server does not answer
│   ├── TlsFails               no secure connection is possible, because of a certificate or cipher
│   ├── UnfitDatabase          the database answers, but this release cannot work with it
│   └── ServerRefuses          the server answers with a temporary error, such as a full disk
│       └── Stranger           the Redis database belongs to another system
├── MigrationError             a migration stopped; it can run again
├── Cancelled                  raised by a task that ends because its cancellation was requested
├── PermanentError             raised by a task: do not retry
│   └── OutsideRefusal         raised by a task: an outside service refused for a good reason
├── ExpectedError              raised by a task: an expected, temporary problem; retry without an alert
│   └── Retry                  raised by a task: try again at the given time
│       └── NotBefore          raised by a task: as Retry, but later if the contract's backoff is longer
├── TimeLimitExceeded          the attempt ran longer than its contract allows
└── MemoryLimitExceeded        the attempt made its worker exceed its memory limit
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID


class OftenError(Exception):
    """Base class of all errors of this project."""


class SettingsError(OftenError):
    """A setting breaks a rule. The message names the variable, the rule and a valid value."""


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One broken rule of one field."""

    #: Dotted path of the field, such as `params.user_id`; empty if the rule is about the whole
    #: body.
    field: str
    #: The broken rule, in words that help the caller to correct the value.
    rule: str


class Refused(OftenError):
    """The request breaks a rule and nothing was stored."""


class InvalidFields(Refused):
    """One or more fields break their rules."""

    def __init__(self, problems: list[FieldProblem]) -> None:
        super().__init__("; ".join(f"{p.field or 'body'}: {p.rule}" for p in problems))
        self.problems = problems


class UnknownTask(Refused):
    """No contract (kind of task) has this name."""

    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__(f"unknown task {name!r}; known tasks: {', '.join(known)}")
        self.name = name
        self.known = known


class KeyReused(Refused):
    """The idempotency key was used for another request within the last day."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the key {key!r} was used with another request")
        self.key = key


class WorkflowExists(Refused):
    """An unfinished workflow with this name has the same unique key."""

    def __init__(self, name: str, key: str, workflow_id: UUID | None) -> None:
        which = f" ({workflow_id})" if workflow_id else ""
        super().__init__(
            f"unique: an unfinished workflow {name!r} has the key {key!r}{which}; wait for its end, or "
            "cancel it"
        )
        self.workflow_id = workflow_id


class WorkersTooOld(Refused):
    """Some running workers belong to an older release, which cannot handle the submission."""

    def __init__(self, workers: int) -> None:
        super().__init__(
            f"{workers} running workers are of a release that knows no workflows; submit it again once they "
            "are replaced"
        )


class TaskNotFound(OftenError):
    """The task does not exist, or it belongs to another account."""

    def __init__(self, task_id: UUID) -> None:
        super().__init__(f"task {task_id} does not exist")
        self.task_id = task_id


class TaskFinished(OftenError):
    """The task has already ended. `status` is its final status."""

    def __init__(self, task_id: UUID, status: str) -> None:
        super().__init__(f"task {task_id} has already ended as {status}")
        self.task_id = task_id
        self.status = status


class StaleClaim(OftenError):
    """The worker has lost its claim on the task, so it must not commit the task's success."""

    def __init__(self, task_id: UUID, claim: int) -> None:
        super().__init__(f"claim {claim} on task {task_id} is over; another claim owns the task")
        self.task_id = task_id
        self.claim = claim


class VaultError(OftenError):
    """A sensitive field cannot be decrypted. The message names the key, and never the contents."""


class ServerUnavailable(OftenError):
    """A server cannot serve a request at the moment, but may later.

    `server` names it, and the message gives the reason.
    """

    def __init__(self, server: str, message: str) -> None:
        super().__init__(message)
        self.server = server


class ServerAway(ServerUnavailable):
    """Postgres or Redis does not answer."""

    def __init__(self, server: str, *, reason: str = "") -> None:
        super().__init__(server, f"{server} does not answer{f' ({reason})' if reason else ''}")


class TlsFails(ServerUnavailable):
    """A secure connection to a server cannot be established.

    `check` says what the operator should check.
    """

    def __init__(self, server: str, reason: str, check: str) -> None:
        super().__init__(server, f"TLS with {server} fails: {reason}; check {check}")


class ServerRefuses(ServerUnavailable):
    """Postgres or Redis answers with a temporary error; the same request may succeed later."""

    def __init__(self, server: str, reason: str, *, sqlstate: str | None = None) -> None:
        state = f" [SQLSTATE {sqlstate}]" if sqlstate else ""
        super().__init__(server, f"{server} refuses for now: {reason}{state}")
        self.sqlstate = sqlstate


class Stranger(ServerRefuses):
    """The Redis database belongs to another system, whose tasks must not be touched."""

    def __init__(self, owner: str, system: str) -> None:
        super().__init__(
            "Redis",
            f"this database belongs to system {owner}, and this process to system {system}; give each "
            "system a database of its own in REDIS_URL, or run `redis-cli DEL often:system` if the other one "
            "is gone",
        )


class UnfitDatabase(ServerUnavailable):
    """This release cannot work with the database in its current state. The message says what an
    operator has to do.
    """

    def __init__(self, reason: str) -> None:
        super().__init__("Postgres", f"this release cannot work with the database: {reason}")


class MigrationError(OftenError):
    """A migration stopped and can be continued. The message says why and what to do."""


class Cancelled(OftenError):
    """Raised by a task body that stops because its cancellation was requested. Its task is then
    revoked.
    """


class PermanentError(OftenError):
    """Raised by a task body if a retry would end in the same way."""


class OutsideRefusal(PermanentError):
    """Raised by a task body if an outside service refuses for a legitimate reason, as when a bank
    declines a card. This is not a failure of the platform.
    """


class ExpectedError(OftenError):
    """Raised by a task body for an expected, temporary problem. The task is retried, and a warning
    is logged.
    """


#: Maximum delay of a task or a retry. The hotel application needs no longer one, because no hotel
#: is booked further ahead; a larger value is probably in the wrong unit.
MAX_DELAY = timedelta(days=366)


class Retry(ExpectedError):
    """Raised by a task body that knows when to try again. It counts as a failed attempt like any
    other.
    """

    def __init__(self, reason: str, *, delay_s: float | None = None, at: datetime | None = None) -> None:
        """Take the next attempt's time: either `delay_s` seconds from now, or `at`, a time with a
        zone.

        A time in the past means immediately. A time more than 366 days ahead counts as 366 days.
        Raises ValueError for an invalid argument.
        """
        super().__init__(reason)
        if (delay_s is None) == (at is None):
            raise ValueError("give either delay_s or at")
        if at is not None and getattr(at, "tzinfo", None) is None:
            raise ValueError("at must be a datetime with a time zone")
        if delay_s is not None and not _is_delay(delay_s):
            raise ValueError(f"delay_s must be a number of seconds, at most 366 days, not {delay_s!r}")
        self._delay_s = delay_s
        self._at = at

    def wait_s(self, now: datetime) -> float:
        """Seconds from `now` (a time with a zone) until the next attempt, never negative."""
        if self._at is not None:
            return min(max(0.0, (self._at - now).total_seconds()), MAX_DELAY.total_seconds())
        return max(0.0, self._delay_s or 0.0)


def _is_delay(seconds: Any) -> bool:
    """True if the value is a finite number of seconds whose size is at most MAX_DELAY.

    Strings and booleans are not accepted.
    """
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    return is_number and -MAX_DELAY.total_seconds() <= seconds <= MAX_DELAY.total_seconds()


class NotBefore(Retry):
    """Like Retry, for an outside service that is unavailable for an unknown time.

    If the contract's backoff is longer than the requested delay, the backoff applies.
    """


class TimeLimitExceeded(OftenError):
    """The attempt was interrupted because it ran too long."""

    def __init__(self, limit: timedelta) -> None:
        super().__init__(f"it ran longer than its limit of {limit.total_seconds():g} s")


class MemoryLimitExceeded(OftenError):
    """The attempt was interrupted because its worker exceeded its memory limit during the attempt."""

    def __init__(self, limit_mb: int, grown_mb: int) -> None:
        super().__init__(
            f"the worker grew by {grown_mb} MB while this attempt ran, beyond its limit of {limit_mb} MB"
        )
