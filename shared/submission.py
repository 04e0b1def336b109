"""Accepts tasks: stores the row of a task in Postgres first, then pushes its id to Redis.

A task exists once its row is committed, and its id is pushed after the commit. If the push fails,
or if the process dies before it, the dispatcher of the scheduler sends the task once its `send_at`
has passed. `shared.new_task` defines what can be submitted, and checks it.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

import msgspec

from shared.errors import KeyReused, ServerUnavailable
from shared.ledger.database import Database
from shared.ledger.ids import uuid7
from shared.ledger.transitions import submit
from shared.ledger.transitions.send import MARK_PUSHED
from shared.new_task import CheckedTask, NewTask, values_of, values_of_one
from shared.telemetry import metrics, tracing
from shared.transport.events import Changes, Publisher, TaskChange
from shared.transport.queues import Address, Queues
from shared.vault import Vault

log = logging.getLogger(__name__)

#: Interval in seconds at which a process marks the ids that it has pushed as sent, with one
#: statement. By then, workers have claimed most of these tasks, which then need no mark.
MARK_EVERY_S = 0.5
#: Interval in seconds at which a submitting process compares its clock with the clock of Postgres.
NOTE_TIME_EVERY_S = 10.0
#: How long this process does not push to Redis after a failed push, in seconds, so that callers
#: don't wait for Redis. The dispatcher sends the tasks of that time.
REDIS_REST_S = 1.0


@dataclass(frozen=True, slots=True)
class OnceKey:
    """An idempotency key, under which tasks are stored only once; see `Submitter.submit_once`."""

    #: Namespace of the key, such as `owner:7` for the account 7.
    scope: str
    key: str
    #: Hash of the request's route and canonical body. Using the key again with a different hash is
    #: an error.
    body_hash: bytes
    #: Hashes of the same request under earlier vault keys, because the hash depends on the key.
    former_hashes: tuple[bytes, ...] = ()


class _Collected(NamedTuple):
    """What remains to be done after the commit of a transaction: ids to push and changes to
    publish.
    """

    addresses: list[Address]
    changes: list[Callable[[], Changes]]


class Submitter:
    """Stores tasks in Postgres and pushes their ids to Redis. Create one per event loop."""

    def __init__(self, database: Database, queues: Queues, vault: Vault) -> None:
        self._database = database
        self._queues = queues
        self._vault = vault
        self._unmarked: list[tuple[UUID, int]] = []
        self._redis_rests_until = 0.0
        self._publisher = Publisher(queues)
        self._after_commit: ContextVar[_Collected | None] = ContextVar("after_commit", default=None)

    def checked(self, task: NewTask) -> CheckedTask:
        """Check a task against the clock of the database, and encode its parameters. Raises
        InvalidFields.
        """
        task.check(self._database.now())
        return CheckedTask(task, task.contract.encode_params(task.params))

    async def submit(self, tasks: Sequence[NewTask | CheckedTask]) -> list[UUID]:
        """Store the tasks with one statement, and push the ids of those that may start now. Returns
        the ids in the order of the tasks.

        Tasks that are not a CheckedTask are checked here. Inside a transaction that was opened with
        `transaction` of this class, ids are pushed after its commit. Inside any other transaction,
        nothing is pushed, and the dispatcher sends the tasks after the commit. If an error is
        raised, nothing is stored. Raises InvalidFields, or ServerUnavailable if Postgres is
        unavailable.
        """
        with self.traced(self._all_checked(tasks)) as traced:
            checked = self.sealed(traced)
            if len(checked) == 1:
                rows = await self._database.run(submit.SUBMIT_ONE, **values_of_one(checked[0]))
                return await self.accepted(checked, [row["id"] for row in rows])
            (row,) = await self._database.run(submit.SUBMIT, **values_of(checked))
            return await self.accepted(checked, row["ids"])

    async def submit_once(
        self, tasks: Sequence[NewTask | CheckedTask], once: OnceKey
    ) -> tuple[list[UUID], bool]:
        """Like `submit`, but store nothing if the idempotency key was used within the last day.

        Returns the ids of the first submission, and True if this call was the first. Raises
        KeyReused if the first one was a different request.
        """
        with self.traced(self._all_checked(tasks)) as traced:
            checked = self.sealed(traced)
            values = values_of(checked)
            key = {"scope": once.scope, "key": once.key, "body_hash": once.body_hash}
            while True:
                (row,) = await self._database.run(submit.SUBMIT_ONCE, **values, **key)
                if row["ids"] is not None:
                    return await self.accepted(checked, row["ids"]), True
                if (first := await self.submitted_under(once)) is not None:
                    return first, False
                # The key has expired and was deleted between the two statements, so it is free and
                # the loop tries again.

    async def submitted_under(self, once: OnceKey) -> list[UUID] | None:
        """The ids of the tasks that were first submitted under this idempotency key, or None if
        there was none within the last day.

        Raises KeyReused if the first one was a different request.
        """
        first = await self._database.run(submit.SUBMITTED_UNDER, scope=once.scope, key=once.key)
        if first and first[0]["body_hash"] not in (once.body_hash, *once.former_hashes):
            raise KeyReused(once.key)
        return list(first[0]["task_ids"]) if first else None

    def traced(self, tasks: Sequence[CheckedTask]) -> AbstractContextManager[Sequence[CheckedTask]]:
        """Wrap the submission of these tasks in a tracing span, if the caller is traced. The tasks
        that the context yields refer to the span.

        If tasks of several callers are stored with one statement, the tasks of each caller are
        wrapped before they are combined.
        """
        return contextlib.nullcontext(tasks) if tracing.labels() is None else self._traced(tasks)

    @contextlib.contextmanager
    def _traced(self, tasks: Sequence[CheckedTask]) -> Iterator[Sequence[CheckedTask]]:
        names = {task.new.contract.name for task in tasks}
        name = names.pop() if len(names) == 1 else "batch"
        queues = ",".join(sorted({task.new.contract.queue for task in tasks}))
        described: dict[str, str | int] = {
            "messaging.destination.name": queues,
            "messaging.batch.message_count": len(tasks),
        }
        with tracing.sending(name, described) as span:
            follows = len(tasks) == 1 and tasks[0].new.is_prompt(self._database.now())
            context = tracing.context_of(span, follows=follows)
            yield [msgspec.structs.replace(task, trace_context=context) for task in tasks]

    def _all_checked(self, tasks: Sequence[NewTask | CheckedTask]) -> list[CheckedTask]:
        return [t if isinstance(t, CheckedTask) else self.checked(t) for t in tasks]

    def sealed(self, tasks: Sequence[CheckedTask]) -> Sequence[CheckedTask]:
        """Encrypt (seal) the sensitive fields of tasks. An encrypted field is bound to the id of
        its task, so the ids of the whole batch are generated here, in ascending order, if any task
        has sensitive fields.
        """
        if not any(task.new.contract.sensitive_params for task in tasks):
            return tasks
        ids = sorted(uuid7(self._database.now()) for _ in tasks)
        return [
            CheckedTask(
                t.new,
                *self._vault.seal_encoded(t.new.contract, t.params, id, t.new.owner),
                id,
                t.trace_context,
            )
            for t, id in zip(tasks, ids, strict=True)
        ]

    async def accepted(self, tasks: Sequence[CheckedTask], ids: list[UUID]) -> list[UUID]:
        """Count the stored tasks in the metrics, push their ids, and return the ids."""
        new = [task.new for task in tasks]
        for labels, count in Counter((t.contract.queue, t.contract.name) for t in new).items():
            metrics.SUBMITTED.labels(*labels).inc(count)
        addresses = [
            Address(id, t.contract.queue, t.effective_priority)
            for id, t in zip(ids, new, strict=True)
            if t.direct
        ]
        await self.push_after_commit(addresses, lambda: Changes(list(map(_change, ids, new))))
        return ids

    async def push_after_commit(self, addresses: Sequence[Address], changes: Callable[[], Changes]) -> None:
        """Push the ids of stored tasks to Redis and publish the changes. Inside a transaction that
        was opened with `transaction`, this happens after its commit. Inside any other transaction,
        nothing is done here.
        """
        collected = self._after_commit.get()
        if collected is not None:
            collected.addresses.extend(addresses)
            collected.changes.append(changes)
        elif not self._database.in_transaction():
            self._publisher.soon(changes)
            await self.push(addresses)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """A database transaction. The ids of tasks that are submitted in it are pushed immediately
        after its commit.
        """
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
        """A database transaction like `transaction`, but with a time limit, for a few short
        statements. Raises ServerUnavailable if it takes too long.
        """
        async with self._database.translated(), asyncio.timeout(self._database.limit_s), self.transaction():
            yield

    async def push(self, addresses: Sequence[Address], *, claim: int = 0) -> None:
        """Push the ids of committed tasks to Redis. If Redis is unavailable, only a warning is
        logged, because the dispatcher will send the tasks.
        """
        if not addresses or time.monotonic() < self._redis_rests_until:
            return
        try:
            await self._queues.push(addresses)
        except ServerUnavailable as error:
            self._redis_rests_until = time.monotonic() + REDIS_REST_S
            log.warning("%s; %d tasks were not pushed, the dispatcher sends them", error, len(addresses))
            return
        self._unmarked += [(address.id, claim) for address in addresses]

    async def note_time(self) -> None:
        """Read the clock of the database, against which new tasks are checked. This is repeated
        regularly, because the clocks of two machines drift apart.
        """
        (row,) = await self._database.run("SELECT clock_timestamp() AS now")
        self._database.note_time(row["now"])

    async def mark(self) -> None:
        """Mark the pushed tasks as sent. The dispatcher sends an unmarked task a second time, but
        only one of the two copies can be claimed.
        """
        pushed, self._unmarked = sorted(self._unmarked), []
        if pushed:
            ids, claims = zip(*pushed, strict=True)
            await self._database.run(MARK_PUSHED, id=list(ids), claim=list(claims))


def _change(task_id: UUID, task: NewTask) -> TaskChange:
    return TaskChange(task_id, 0, "pending", task.contract.name, task.contract.queue, task.owner)
