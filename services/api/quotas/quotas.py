"""Quotas: how much of what each role may submit, and what an account has taken of it.

`Quotas.counted` takes before tasks are stored, and gives back what was not stored after all. Schedules and
tasks submit through `Submitter` and take nothing.
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
from shared.submission import NewTask
from shared.telemetry import metrics

T = TypeVar("T")

#: Retry-After where too many tasks wait. It is unknown when they will end.
WAITING_RETRY_S = 10.0


class Taken(NamedTuple):
    """What a submission has taken."""

    account: int
    waiting: int
    wants: Sequence[Want]


class Used(NamedTuple):
    """One quota of an account."""

    quota: str
    amount: int
    taken: int
    #: The end of its window; None for a quota without one.
    resets_at: datetime | None


class Quotas:
    """The quotas of all accounts, as one process counts them."""

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
        """The highest priority that the role may ask for."""
        return self._limits[role].priority

    def check_priority(self, task: NewTask, caller: Reader) -> None:
        """Raises InvalidFields. The contract's own priority is for everybody."""
        rule = self.priority_rule(task.contract, task.priority, caller)
        if rule is not None:
            raise InvalidFields([FieldProblem("priority", rule)])

    def priority_rule(self, contract: Contract[Any, Any], priority: int | None, caller: Reader) -> str | None:
        """The rule that a priority breaks; None when it keeps it."""
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
        """Store tasks if the caller's quotas allow. A repeated submission takes nothing.

        `named` has one entry for each task: the daily quota that its contract names. `field` is the part of
        the request that names the tasks. `store` says whether it stored anything, and `stored_before` finds
        what the same submission has stored. Raises QuotaUsedUp or InvalidFields.
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
        """Take what these tasks need, all or nothing. Raises QuotaUsedUp or InvalidFields."""
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
        """The tasks were not stored."""
        self._waiting.give_back(taken.account, taken.waiting)
        for want in taken.wants:
            self._counters.note(want.window, -want.amount)

    async def used(self, caller: Reader) -> list[Used]:
        """The quotas that limit the caller. Raises ServerUnavailable."""
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
        """Count in Redis what was taken. A loop of the API repeats it."""
        await self._counters.send(self._now().timestamp())

    async def refresh(self) -> None:
        """Count what waits of the accounts that submit. A loop of the API repeats it."""
        await self._waiting.refresh()

    async def _take_waiting(self, limits: Limits, caller: Reader, amount: int) -> None:
        if limits.waiting is None:
            return
        there = await self._waiting.take(caller.id, amount, limits.waiting)
        if there is not None:
            raise _refusal(caller, WAITING, limits.waiting, there, WAITING_RETRY_S)

    async def _take_counted(self, wants: Sequence[Want], now: float) -> Want | None:
        """The first one that has too little left. Asks Redis for all but a single task of no daily quota."""
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
    """Window and amount of each counted quota, by its name."""
    if limits.tasks is not None:
        yield TASKS, (counters.minute(TASKS, account, now), limits.tasks)
    for quota, limit in limits.daily.items():
        yield quota, (counters.day(quota, account, now), limit)


def _refuse_impossible(
    limits: Limits, caller: Reader, wants: Sequence[Want], number: int, field: str
) -> None:
    """Raises InvalidFields for a submission that no waiting would help: it takes more than the amount."""
    asked = [(want.quota, want.amount, want.limit) for want in wants]
    if limits.waiting is not None:
        asked.append((WAITING, number, limits.waiting))
    problems = [
        FieldProblem(field, f"must take at most {limit} of the quota {quota} of your role {caller.role}")
        for quota, amount, limit in asked
        if amount > limit
    ]
    if problems:
        raise InvalidFields(problems)


def _refusal(caller: Reader, quota: str, amount: int, taken: int, wait_s: float) -> QuotaUsedUp:
    metrics.QUOTA_REFUSALS.labels(quota).inc()
    return QuotaUsedUp(quota, amount, taken, caller.role, wait_s)
