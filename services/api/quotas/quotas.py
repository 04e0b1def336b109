"""Quotas define how much the accounts of each role may submit. This module counts how much of them
is used.

`Quotas.counted` takes the amount before the tasks are stored, and gives back the amount for tasks
that were not stored. Schedules and task bodies submit through `Submitter`, which uses no quota.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from services.api.http.refusals import QuotaUsedUp
from services.api.identity.rights import Reader
from services.api.quotas import counters
from services.api.quotas.counters import Counters, Want, Window
from services.api.quotas.limits import TASKS, WAITING, Limits
from services.api.quotas.waiting import Waiting
from shared.contracts.contract import Contract
from shared.errors import FieldProblem, InvalidFields
from shared.identity.tables import Role
from shared.new_task import NewTask
from shared.telemetry import metrics

T = TypeVar("T")

#: Seconds in the header Retry-After when an account has too many waiting tasks. It is unknown when
#: one of them will finish.
WAITING_RETRY_S = 10.0


class Taken(NamedTuple):
    """The amounts that one submission has taken from quotas, so that they can be given back."""

    account: int
    waiting: int
    wants: Sequence[Want]


class Used(NamedTuple):
    """How much of one quota an account has used."""

    quota: str
    amount: int
    taken: int
    #: End of the current time window of the quota. None if the quota has no time window.
    resets_at: datetime | None


class Quotas:
    """Checks and counts the quotas of all accounts in one process."""

    def __init__(
        self,
        limits: Mapping[Role, Limits],
        counters: Counters,
        waiting: Waiting,
        now: Callable[[], datetime],
    ) -> None:
        self._limits = limits
        self._counters = counters
        self._waiting = waiting
        self._now = now

    def highest_priority(self, role: Role) -> int:
        """The highest priority that this role may request for a task."""
        return self._limits[role].priority

    def check_priority(self, task: NewTask, caller: Reader) -> None:
        """Check the priority that the caller requests for a task. Every role may request the
        default priority of the task's contract. Raises InvalidFields.
        """
        rule = self.priority_rule(task.contract, task.priority, caller)
        if rule is not None:
            raise InvalidFields([FieldProblem("priority", rule)])

    def priority_rule(self, contract: Contract[Any, Any], priority: int | None, caller: Reader) -> str | None:
        """The rule that a requested priority breaks, or None if it breaks no rule."""
        highest = max(self._limits[caller.role].priority, contract.priority)
        if priority is None or priority <= highest:
            return None
        return f"must be at most {highest} for your role {caller.role}; leave it out for the task's own"

    async def counted(
        self,
        caller: Reader,
        named: Sequence[str | None],
        *,
        field: str,
        store: Callable[[], Awaitable[tuple[T, bool]]],
        stored_before: Callable[[], Awaitable[T | None]],
    ) -> tuple[T, bool]:
        """Store tasks if the caller's quotas allow it. A repeated submission uses no quota.

        `named` has one entry for each task: the daily quota that its contract names. `field` is the
        field of the request that lists the tasks. `store` stores them and returns True if they are
        new. `stored_before` finds what an earlier request with the same idempotency key has stored.
        Raises QuotaUsedUp or InvalidFields.
        """
        try:
            taken = await self._take(caller, named, field)
        except QuotaUsedUp:
            first = await stored_before()
            if first is None:
                raise
            return first, False
        try:
            stored, is_new = await store()
        except Exception:
            self._give_back(taken)
            raise
        if not is_new:
            self._give_back(taken)
        return stored, is_new

    async def _take(self, caller: Reader, named: Sequence[str | None], field: str) -> Taken:
        """Take the amounts for these tasks from all quotas, or nothing if one quota has too little
        left. Raises QuotaUsedUp or InvalidFields.
        """
        limits = self._limits[caller.role]
        now = self._now().timestamp()
        wants = [*_wants(limits, caller.id, named, now)]
        _refuse_impossible(limits, caller, wants, len(named), field)
        await self._take_waiting(limits, caller, len(named))
        if (short := await self._take_counted(wants, now)) is not None:
            self._waiting.give_back(caller.id, len(named))
            taken = self._counters.total(short.window)
            raise _refusal(caller, short.quota, short.limit, taken, short.window.end - now)
        return Taken(caller.id, len(named), wants)

    def _give_back(self, taken: Taken) -> None:
        """Reduce an account's used quotas again, for tasks that were counted and then not stored."""
        self._waiting.give_back(taken.account, taken.waiting)
        for want in taken.wants:
            self._counters.note(want.window, -want.amount)

    async def used(self, caller: Reader) -> list[Used]:
        """Return the quotas that limit the caller, and how much of each is used. Raises
        ServerUnavailable.
        """
        limits, now = self._limits[caller.role], self._now().timestamp()
        windows = dict(_windows(limits, caller.id, now))
        await self._counters.read([window for window, _ in windows.values()], now)
        found = [
            Used(quota, amount, self._counters.total(window), datetime.fromtimestamp(window.end, UTC))
            for quota, (window, amount) in windows.items()
        ]
        if limits.waiting is not None:
            found.append(Used(WAITING, limits.waiting, await self._waiting.read(caller.id), None))
        return found

    async def send(self) -> None:
        """Send the amounts that were counted in memory to Redis. A background loop of the API calls
        this repeatedly.
        """
        await self._counters.send(self._now().timestamp())

    async def refresh(self) -> None:
        """Count the waiting tasks of accounts that submit tasks. A background loop of the API calls
        this repeatedly.
        """
        await self._waiting.refresh()

    async def _take_waiting(self, limits: Limits, caller: Reader, amount: int) -> None:
        if limits.waiting is None:
            return
        there = await self._waiting.take(caller.id, amount, limits.waiting)
        if there is not None:
            raise _refusal(caller, WAITING, limits.waiting, there, WAITING_RETRY_S)

    async def _take_counted(self, wants: Sequence[Want], now: float) -> Want | None:
        """Take amounts from the quotas that are counted per time window. Returns the first quota
        that has too little left.

        Redis is asked, except for a single task without a daily quota.
        """
        if not wants:
            return None
        first = wants[0]
        is_plain = len(wants) == 1 and first.quota == TASKS and first.amount == 1
        if is_plain and self._counters.total(first.window) < first.limit:
            self._counters.note(first.window, 1)
            return None
        return await self._counters.take(wants, now)


def _wants(limits: Limits, account: int, named: Sequence[str | None], now: float) -> Iterator[Want]:
    if limits.tasks is not None:
        yield Want(TASKS, counters.minute(TASKS, account, now), len(named), limits.tasks)
    if limits.daily:
        for quota, limit in limits.daily.items():
            if amount := named.count(quota):
                yield Want(quota, counters.day(quota, account, now), amount, limit)


def _windows(limits: Limits, account: int, now: float) -> Iterator[tuple[str, tuple[Window, int]]]:
    """The time window of each counted quota and the amount to take from it, by the quota's name."""
    if limits.tasks is not None:
        yield TASKS, (counters.minute(TASKS, account, now), limits.tasks)
    for quota, limit in limits.daily.items():
        yield quota, (counters.day(quota, account, now), limit)


def _refuse_impossible(
    limits: Limits, caller: Reader, wants: Sequence[Want], number: int, field: str
) -> None:
    """Raise InvalidFields if the submission needs more than the whole quota, because it could never
    be accepted.
    """
    asked = [(want.quota, want.amount, want.limit) for want in wants]
    if limits.waiting is not None:
        asked.append((WAITING, number, limits.waiting))
    each = ": each task of its steps counts" if field == "steps" else ""
    problems = [
        FieldProblem(
            field,
            f"must take at most {limit} of the quota {quota} of your role {caller.role}, not {amount}{each}",
        )
        for quota, amount, limit in asked
        if amount > limit
    ]
    if problems:
        raise InvalidFields(problems)


def _refusal(caller: Reader, quota: str, amount: int, taken: int, wait_s: float) -> QuotaUsedUp:
    metrics.QUOTA_REFUSALS.labels(quota).inc()
    return QuotaUsedUp(quota, amount, taken, caller.role, wait_s)
