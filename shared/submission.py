"""Accepts tasks: the row first, then its id.

A task exists when its row is committed. The id is pushed after the commit; when that fails, or the process
dies in between, the dispatcher sends the row once its `send_at` has passed.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from shared.contracts.contract import HIGHEST_PRIORITY, LOWEST_PRIORITY, Contract, Params
from shared.errors import MAX_DELAY, FieldProblem, InvalidFields, KeyReused, ServerUnavailable
from shared.ledger.database import Database
from shared.ledger.ids import uuid7
from shared.ledger.transitions import submit
from shared.ledger.transitions.record import sparse
from shared.ledger.transitions.send import MARK_PUSHED
from shared.telemetry import metrics
from shared.transport.events import Changes, Publisher, TaskChange
from shared.transport.queues import Address, Queues
from shared.vault import Vault

log = logging.getLogger(__name__)

#: How long pushed ids collect before one statement marks them. Most are claimed by then and need no mark at
#: all.
MARK_EVERY_S = 0.5
#: How often a process that submits compares its clock with the database's.
NOTE_TIME_EVERY_S = 10.0
#: After a failed push the next ones are left to the dispatcher for this long, so that callers don't wait for
#: Redis.
REDIS_REST_S = 1.0


class NewTask(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A task to be submitted. At most one of `delay` and `run_at` (aware) is given.

    There may be 10,000 at once: a struct is made in a tenth of a dataclass' time, and no collection walks it.
    """

    contract: Contract[Any, Any]
    params: Params
    owner: int | None = None
    priority: int | None = None
    delay: timedelta | None = None
    run_at: datetime | None = None
    expires_at: datetime | None = None
    #: The schedule that fires and its nominal time; see `shared.schedules.timetable`.
    schedule: str | None = None
    fire_time: datetime | None = None

    @property
    def direct(self) -> bool:
        """True when the submitter pushes the id itself."""
        return self.delay is None and self.run_at is None

    def check(self, now: datetime) -> None:
        """Raises InvalidFields, naming every option that breaks a rule."""
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
        start = self.run_at or now + (self.delay or timedelta(0))
        return self.expires_at is not None and self.expires_at <= max(start, now)


class CheckedTask(msgspec.Struct, frozen=True, gc=False):
    """A task that keeps all rules, with its parameters in JSON; see `Submitter.checked`."""

    new: NewTask
    #: Sensitive fields are sealed when the task is stored.
    params: str
    key_id: str | None = None
    #: None: Postgres makes it.
    id: UUID | None = None

    @property
    def recipient(self) -> int | None:
        """The id of the account that the task is for."""
        return self.new.contract.recipient_of(self.new.params)


@dataclass(frozen=True, slots=True)
class OnceKey:
    """Under this key tasks are stored once; see `Submitter.submit_once`."""

    #: Whose key it is, `owner:7`.
    scope: str
    key: str
    #: Of route and canonical body: the same key with another one is a mistake.
    body_hash: bytes
    #: Further hashes of the same body: under keys that were the current one before.
    former_hashes: tuple[bytes, ...] = ()


class _Collected(NamedTuple):
    """What follows the commit of a transaction."""

    addresses: list[Address]
    changes: list[Callable[[], Changes]]


class Submitter:
    """Submits tasks and pushes their ids. One per event loop."""

    def __init__(self, database: Database, queues: Queues, vault: Vault) -> None:
        self._database = database
        self._queues = queues
        self._vault = vault
        self._unmarked: list[tuple[UUID, int]] = []
        self._redis_rests_until = 0.0
        self._publisher = Publisher(queues)
        self._after_commit: ContextVar[_Collected | None] = ContextVar("after_commit", default=None)

    def checked(self, task: NewTask) -> CheckedTask:
        """Check a task by the database's time and encode its parameters, once. Raises InvalidFields."""
        task.check(self._database.now())
        return CheckedTask(task, task.contract.encode_params(task.params))

    async def submit(self, tasks: Sequence[NewTask | CheckedTask]) -> list[UUID]:
        """Store the tasks in one statement and push what may start now. Returns the ids in the order given.

        Tasks that were not checked before are checked here. Inside a transaction of the caller nothing is
        pushed: the dispatcher sends the rows after the commit. Raises InvalidFields, or ServerUnavailable
        when Postgres is away; then nothing is stored.
        """
        checked = self.sealed(self._all_checked(tasks))
        if len(checked) == 1:
            rows = await self._database.run(submit.SUBMIT_ONE, **_values_of_one(checked[0]))
            return await self.accepted(checked, [row["id"] for row in rows])
        (row,) = await self._database.run(submit.SUBMIT, **values_of(checked))
        return await self.accepted(checked, row["ids"])

    async def submit_once(
        self, tasks: Sequence[NewTask | CheckedTask], once: OnceKey
    ) -> tuple[list[UUID], bool]:
        """As `submit`, unless the key was used within the last day.

        Returns the ids of the first submission, and whether this was it. Raises KeyReused when the first
        one was another request.
        """
        checked = self.sealed(self._all_checked(tasks))
        values = values_of(checked)
        key = {"scope": once.scope, "key": once.key}
        while True:
            (row,) = await self._database.run(submit.SUBMIT_ONCE, **values, **key, body_hash=once.body_hash)
            if row["ids"] is not None:
                return await self.accepted(checked, row["ids"]), True
            if (first := await self.submitted_under(once)) is not None:
                return first, False
            # The key was pruned in between, so it is free now.

    async def submitted_under(self, once: OnceKey) -> list[UUID] | None:
        """The ids of the first submission under this key; None when there was none within the last day.

        Raises KeyReused when the first one was another request.
        """
        first = await self._database.run(submit.SUBMITTED_UNDER, scope=once.scope, key=once.key)
        if first and first[0]["body_hash"] not in (once.body_hash, *once.former_hashes):
            raise KeyReused(once.key)
        return list(first[0]["task_ids"]) if first else None

    def _all_checked(self, tasks: Sequence[NewTask | CheckedTask]) -> list[CheckedTask]:
        return [t if isinstance(t, CheckedTask) else self.checked(t) for t in tasks]

    def sealed(self, tasks: Sequence[CheckedTask]) -> Sequence[CheckedTask]:
        """Seal what is sensitive. A seal needs the id of its task, so only then are ids made here.

        They are made for the whole batch, whose ids rise in its order.
        """
        if not any(task.new.contract.sensitive_params for task in tasks):
            return tasks
        ids = sorted(uuid7(self._database.now()) for _ in tasks)
        return [
            CheckedTask(t.new, *self._vault.seal_encoded(t.new.contract, t.params, id, t.new.owner), id)
            for t, id in zip(tasks, ids, strict=True)
        ]

    async def accepted(self, tasks: Sequence[CheckedTask], ids: list[UUID]) -> list[UUID]:
        """Count and push what was stored. Returns the ids."""
        new = [task.new for task in tasks]
        for labels, count in Counter((t.contract.queue, t.contract.name) for t in new).items():
            metrics.SUBMITTED.labels(*labels).inc(count)
        addresses = [
            Address(id, t.contract.queue, _priority(t)) for id, t in zip(ids, new, strict=True) if t.direct
        ]
        await self.push_after_commit(addresses, lambda: Changes(list(map(_change, ids, new))))
        return ids

    async def push_after_commit(self, addresses: Sequence[Address], changes: Callable[[], Changes]) -> None:
        """Push stored ids and publish changes, or leave that to the transaction in which they were stored."""
        collected = self._after_commit.get()
        if collected is not None:
            collected.addresses.extend(addresses)
            collected.changes.append(changes)
        elif not self._database.in_transaction():
            self._publisher.soon(changes)
            await self.push(addresses)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """A transaction whose tasks are pushed right after its commit."""
        collected = _Collected([], [])
        token = self._after_commit.set(collected)
        try:
            async with self._database.transaction():
                yield
        finally:
            self._after_commit.reset(token)
        for changes in collected.changes:
            self._publisher.soon(changes)
        await self.push(collected.addresses)

    @contextlib.asynccontextmanager
    async def short_transaction(self) -> AsyncIterator[None]:
        """The same for a few short statements. Raises ServerUnavailable when it takes too long."""
        async with self._database.translated(), asyncio.timeout(self._database.limit_s), self.transaction():
            yield

    async def push(self, addresses: Sequence[Address], *, claim: int = 0) -> None:
        """Push committed ids; a Redis that is away is no error, the dispatcher sends them."""
        if not addresses or time.monotonic() < self._redis_rests_until:
            return
        try:
            await self._queues.push(addresses)
        except ServerUnavailable as error:
            self._redis_rests_until = time.monotonic() + REDIS_REST_S
            log.warning("%s; %d tasks wait for the dispatcher", error, len(addresses))
            return
        self._unmarked += [(address.id, claim) for address in addresses]

    async def note_time(self) -> None:
        """Learn the database's time, by which tasks are checked; to be repeated, because clocks drift."""
        (row,) = await self._database.run("SELECT clock_timestamp() AS now")
        self._database.note_time(row["now"])

    async def mark(self) -> None:
        """Mark what has been pushed. Ids that stay unmarked are sent twice and claimed once."""
        pushed, self._unmarked = sorted(self._unmarked), []
        if pushed:
            ids, claims = zip(*pushed, strict=True)
            await self._database.run(MARK_PUSHED, id=list(ids), claim=list(claims))


#: Columns that tasks of one kind share, in the order of `_kind`.
_KIND = (
    *("name", "type", "version", "queue", "max_attempts", "max_wait_s", "priority", "key_id", "owner"),
    *("schedule", "fire_time"),
)


def values_of(tasks: Sequence[CheckedTask]) -> dict[str, Any]:
    """The values of SUBMIT. Most tasks of a batch are of few kinds, and few options are used at all."""
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


def _values_of_one(task: CheckedTask) -> dict[str, Any]:
    """The values of SUBMIT_ONE."""
    return {
        **dict(zip(_KIND, _kind(task), strict=True)),
        "id": task.id,
        "params": task.params,
        "run_at": task.new.run_at,
        "delay_s": _seconds(task.new.delay),
        "expires_at": task.new.expires_at,
    }


def _change(task_id: UUID, task: NewTask) -> TaskChange:
    return TaskChange(task_id, 0, "pending", task.contract.name, task.contract.queue, task.owner)


def _kind(checked: CheckedTask) -> tuple[Any, ...]:
    """The values that a task shares with others of its kind, in the order of `_KIND`."""
    task, contract = checked.new, checked.new.contract
    return (
        contract.name,
        contract.type,
        contract.version,
        contract.queue,
        contract.retries.max_attempts,
        _seconds(contract.max_wait),
        _priority(task),
        checked.key_id,
        task.owner,
        task.schedule,
        task.fire_time,
    )


def _priority(task: NewTask) -> int:
    return task.contract.priority if task.priority is None else task.priority


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()
