"""A new task before it is stored: its options, the rules that they must follow, and the values that
the statements of `shared.ledger.transitions.submit` store.

`shared.submission` stores it and pushes its id.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from shared.contracts.contract import HIGHEST_PRIORITY, LOWEST_PRIORITY, Contract, Params
from shared.errors import MAX_DELAY, FieldProblem, InvalidFields
from shared.ledger.transitions.record import sparse

#: If a task may start within this time, its first attempt belongs to the same trace as its
#: submission. Otherwise, the attempt only links to that trace.
FOLLOWS_WITHIN = timedelta(seconds=60)


class NewTask(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A task to be submitted. At most one of `delay` and `run_at` (a time with a zone) may be
    given.

    A request may submit 10,000 tasks. This is a msgspec struct because creating one takes a tenth
    of the time of a dataclass, and because the garbage collector skips it.
    """

    contract: Contract[Any, Any]
    params: Params
    owner: int | None = None
    priority: int | None = None
    delay: timedelta | None = None
    run_at: datetime | None = None
    expires_at: datetime | None = None
    #: If a schedule submits the task: the name of the schedule, and the nominal time for which it
    #: fires (`fire_time`); see `shared.schedules.timetable`.
    schedule: str | None = None
    fire_time: datetime | None = None

    @property
    def direct(self) -> bool:
        """True if the task may start now, so that the submitter itself pushes its id to Redis."""
        return self.delay is None and self.run_at is None

    @property
    def effective_priority(self) -> int:
        """The priority of the task: its own, or else the one of its contract."""
        return self.contract.priority if self.priority is None else self.priority

    def is_prompt(self, now: datetime) -> bool:
        """True if the task may start within FOLLOWS_WITHIN of now and was not submitted by a
        schedule.
        """
        return self.schedule is None and self._start(now) <= now + FOLLOWS_WITHIN

    def check(self, now: datetime) -> None:
        """Raise InvalidFields, which names every option of the task that breaks a rule."""
        problems = [*self._broken_options(), *self._broken_times(now)]
        if not problems and self._expires_too_early(now):
            problems.append(FieldProblem("expires_at", "must be later than the moment it may start"))
        if self.contract.rules_for_new is not None:
            problems += self.contract.rules_for_new(self.params, now)
        if problems:
            raise InvalidFields(problems)

    def _broken_options(self) -> Iterator[FieldProblem]:
        if self.priority is not None and not LOWEST_PRIORITY <= self.priority <= HIGHEST_PRIORITY:
            yield FieldProblem("priority", "must be between 0 and 9; 9 is served first")
        if self.delay is not None and self.run_at is not None:
            yield FieldProblem("run_at", "must not be given together with delay_s")
        if self.delay is not None and not timedelta(0) <= self.delay <= MAX_DELAY:
            yield FieldProblem("delay_s", "must be between 0 and 366 days")

    def _broken_times(self, now: datetime) -> Iterator[FieldProblem]:
        for name, value in (("run_at", self.run_at), ("expires_at", self.expires_at)):
            if value is not None and value.tzinfo is None:
                yield FieldProblem(name, "must carry a time zone, for example 2026-11-22T12:00:00Z")
            elif value is not None and value > now + MAX_DELAY:
                yield FieldProblem(name, "must be at most 366 days ahead")

    def _expires_too_early(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= max(self._start(now), now)

    def _start(self, now: datetime) -> datetime:
        return self.run_at or now + (self.delay or timedelta(0))


class CheckedTask(msgspec.Struct, frozen=True, gc=False):
    """A task that has passed all checks of a submission, with its parameters as JSON; see
    `shared.submission.Submitter.checked`.
    """

    new: NewTask
    #: The parameters as JSON. Their sensitive fields are encrypted just before the task is stored.
    params: str
    key_id: str | None = None
    #: Id of the task. None means that Postgres generates it.
    id: UUID | None = None
    #: The OpenTelemetry trace to which the task belongs, if any; see
    #: `shared.submission.Submitter.traced`.
    trace_context: str | None = None

    @property
    def recipient(self) -> int | None:
        """Id of the account for which the task does its work. None if there is none."""
        return self.new.contract.recipient_of(self.new.params)


#: Columns whose values form the kind of a task, in the order of `_kind`. Tasks of one batch that
#: agree in all of them share one kind, so the values are sent only once.
_KIND = (
    *("name", "type", "version", "queue", "max_attempts", "max_wait_s", "priority", "key_id", "owner"),
    *("schedule", "fire_time", "trace_context"),
)


def values_of(tasks: Sequence[CheckedTask]) -> dict[str, Any]:
    """The parameters of the statement SUBMIT. Tasks of a batch are grouped by kind to keep them
    small, because most batches contain few kinds and few tasks set options.
    """
    kinds: dict[tuple[Any, ...], int] = {}
    numbers = [kinds.setdefault(_kind(t), len(kinds) + 1) for t in tasks]
    return {
        "params": f"[{','.join(t.params for t in tasks)}]",
        "kinds": numbers,
        "id": sparse([t.id for t in tasks]),
        "run_at": sparse([t.new.run_at for t in tasks]),
        "delay_s": sparse([_seconds(t.new.delay) for t in tasks]),
        "expires_at": sparse([t.new.expires_at for t in tasks]),
        **dict(zip(_KIND, zip(*kinds, strict=True), strict=True)),
    }


def values_of_one(task: CheckedTask) -> dict[str, Any]:
    """The parameters of the statement SUBMIT_ONE, which stores a single task."""
    return {
        **dict(zip(_KIND, _kind(task), strict=True)),
        "id": task.id,
        "params": task.params,
        "run_at": task.new.run_at,
        "delay_s": _seconds(task.new.delay),
        "expires_at": task.new.expires_at,
    }


def _kind(checked: CheckedTask) -> tuple[Any, ...]:
    """The kind of a task: the values that it shares with similar tasks, in the order of `_KIND`."""
    task, contract = checked.new, checked.new.contract
    return (
        contract.name,
        contract.type,
        contract.version,
        contract.queue,
        contract.retries.max_attempts,
        _seconds(contract.max_wait),
        task.effective_priority,
        checked.key_id,
        task.owner,
        task.schedule,
        task.fire_time,
        checked.trace_context,
    )


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()
