"""The hierarchy of errors that cross a module's boundary.

OftenError
├── SettingsError              a process refuses to start
├── Refused                    the caller's input breaks a rule; nothing was stored
│   ├── InvalidFields          names each field and its rule
│   ├── UnknownTask            no contract of that name
│   ├── KeyReused              this key stands for another submission
│   ├── WorkflowExists         an unfinished workflow has this name and unique key
│   └── WorkersTooOld          a worker of an older release could not run this
├── TaskNotFound               no such task, or not the caller's
├── TaskFinished               the task is final and cannot be changed
├── StaleClaim                 another claim owns the task now; what was written under this one is undone
├── VaultError                a sealed field does not open: the key is missing or the row was changed
├── ServerUnavailable          Postgres or Redis cannot serve this now; the same request may succeed later
│   ├── ServerAway             it does not answer
│   ├── TlsFails               its certificate is not accepted, or no cipher is
│   ├── UnfitDatabase          it answers, but this release cannot work with it as it is
│   └── ServerRefuses          it answers with an error that passes: read-only, disk full, canceled
│       └── Stranger           the Redis database belongs to another system
├── MigrationError             a migration stopped; it can run again
├── Cancelled                  raised by a task that ends because its cancellation was requested
├── PermanentError             raised by a task: do not retry
├── ExpectedError              raised by a task: foreseen and passing, retry without alarm
│   └── Retry                  raised by a task: try again then
│       └── NotBefore          … or later, as the contract has it
├── TimeLimitExceeded          the attempt ran longer than its contract allows
└── MemoryLimitExceeded        the attempt made its worker larger than it may be
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID


class OftenError(Exception):
    """Base of all errors of this project."""


class SettingsError(OftenError):
    """A setting breaks a rule; the message names the variable, the rule and what to write instead."""


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One broken rule of one field."""

    #: Path of the field, dotted, `params.user_id`; empty when the body as a whole is meant.
    field: str
    #: The rule in words a caller can act on.
    rule: str


class Refused(OftenError):
    """The request breaks a rule and nothing was stored."""


class InvalidFields(Refused):
    """One or more fields break their rules."""

    def __init__(self, problems: list[FieldProblem]) -> None:
        super().__init__("; ".join(f"{p.field or 'body'}: {p.rule}" for p in problems))
        self.problems = problems


class UnknownTask(Refused):
    """No contract has this name."""

    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__(f"unknown task {name!r}; known tasks: {', '.join(known)}")
        self.name = name
        self.known = known


class KeyReused(Refused):
    """The idempotency key was used for another request within the last day."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the key {key!r} stands for another request")
        self.key = key


class WorkflowExists(Refused):
    """An unfinished workflow of this name has this unique key."""

    def __init__(self, name: str, key: str, workflow_id: UUID | None) -> None:
        which = f" ({workflow_id})" if workflow_id else ""
        super().__init__(
            f"unique: an unfinished workflow {name!r} has the key {key!r}{which}; wait for its end, or "
            "cancel it"
        )
        self.workflow_id = workflow_id


class WorkersTooOld(Refused):
    """Workers that are still running could not do what was submitted."""

    def __init__(self, workers: int) -> None:
        super().__init__(
            f"{workers} running workers are of a release that knows no workflows; submit it again once they "
            "are replaced"
        )


class TaskNotFound(OftenError):
    """No task has this id, or it belongs to somebody else."""

    def __init__(self, task_id: UUID) -> None:
        super().__init__(f"task {task_id} does not exist")
        self.task_id = task_id


class TaskFinished(OftenError):
    """The task has already ended; `status` says how."""

    def __init__(self, task_id: UUID, status: str) -> None:
        super().__init__(f"task {task_id} has already ended as {status}")
        self.task_id = task_id
        self.status = status


class StaleClaim(OftenError):
    """This worker's claim on the task is over, so its transaction must not commit."""

    def __init__(self, task_id: UUID, claim: int) -> None:
        super().__init__(f"claim {claim} on task {task_id} is over; another claim owns the task")
        self.task_id = task_id
        self.claim = claim


class VaultError(OftenError):
    """A sealed field does not open; the message says which key, never what is inside."""


class ServerUnavailable(OftenError):
    """A server cannot serve this now; `server` says which one, the message says why."""

    def __init__(self, server: str, message: str) -> None:
        super().__init__(message)
        self.server = server


class ServerAway(ServerUnavailable):
    """Postgres or Redis does not answer."""

    def __init__(self, server: str, *, reason: str = "") -> None:
        super().__init__(server, f"{server} does not answer{f' ({reason})' if reason else ''}")


class TlsFails(ServerUnavailable):
    """The connection cannot be made secure; `check` says what to look at."""

    def __init__(self, server: str, reason: str, check: str) -> None:
        super().__init__(server, f"TLS with {server} fails: {reason}; check {check}")


class ServerRefuses(ServerUnavailable):
    """Postgres or Redis answers with an error that passes; the same request may succeed later."""

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
    """This release cannot work with the database as it is; the message says what an operator has to do."""

    def __init__(self, reason: str) -> None:
        super().__init__("Postgres", f"this release cannot work with the database: {reason}")


class MigrationError(OftenError):
    """A migration stopped where it can be taken up again; the message says why and what to do."""


class Cancelled(OftenError):
    """Raised by a body that stops because its cancellation was requested; the task is revoked."""


class PermanentError(OftenError):
    """Raised by a task whose retry would end the same way."""


class ExpectedError(OftenError):
    """Raised by a task for a foreseen, passing trouble: retried, logged as a warning."""


#: No hotel books further ahead; a larger delay is a mistake in the unit.
MAX_DELAY = timedelta(days=366)


class Retry(ExpectedError):
    """Raised by a task that knows when to try again; it counts as a failed attempt like any other."""

    def __init__(self, reason: str, *, delay_s: float | None = None, at: datetime | None = None) -> None:
        """Give either seconds from now or a moment with its time zone; a moment in the past means at once.

        Raises ValueError. A moment more than 366 days ahead counts as 366 days.
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
        """Seconds from `now` (aware) to the next attempt, not negative."""
        if self._at is not None:
            return min(max(0.0, (self._at - now).total_seconds()), MAX_DELAY.total_seconds())
        return max(0.0, self._delay_s or 0.0)


def _is_delay(seconds: Any) -> bool:
    """A finite number that does not exceed MAX_DELAY; no text, no truth value."""
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    return is_number and -MAX_DELAY.total_seconds() <= seconds <= MAX_DELAY.total_seconds()


class NotBefore(Retry):
    """As Retry, but the contract's backoff may be longer: somebody is away, and nobody knows for how long."""


class TimeLimitExceeded(OftenError):
    """The attempt was interrupted because it ran too long."""

    def __init__(self, limit: timedelta) -> None:
        super().__init__(f"it ran longer than its limit of {limit.total_seconds():g} s")


class MemoryLimitExceeded(OftenError):
    """The attempt was interrupted because its worker grew beyond its memory limit while it ran."""

    def __init__(self, limit_mb: int, grown_mb: int) -> None:
        super().__init__(
            f"the worker grew by {grown_mb} MB while this attempt ran, beyond its limit of {limit_mb} MB"
        )
