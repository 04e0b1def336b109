"""Defines the context: the interface through which a task body uses the platform.

The worker implements it. `shared.testing` provides an implementation for tests.
"""

import logging
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any, Protocol, TypeVar, runtime_checkable
from uuid import UUID

from shared.contracts.contract import Contract, Params, Result

G = TypeVar("G")
T = TypeVar("T")


class Sql(Protocol):
    """Runs SQL statements. Inside `context.transaction`, they are part of the transaction."""

    async def run(self, sql: Any, *values: Any, **named: Any) -> list[dict[str, Any]]:
        """Run one SQL statement and return its rows.

        In a plain text, each `{}` is the placeholder of a value. A `Statement` takes its values by
        name. Raises ServerUnavailable, which counts as an expected error: the task is retried.
        """

    async def connect(self) -> Any:
        """Open an asyncpg connection outside the pool and without time limits.

        The caller has to close it.
        """

    def translated(self) -> AbstractAsyncContextManager[None]:
        """Return a context manager that turns temporary errors of the driver into
        ServerUnavailable.
        """


@runtime_checkable
class Flow(Protocol):
    """A workflow that can be started, in practice a `shared.workflows.workflow.Workflow`.

    This package uses the protocol because it must not import that class.
    """

    name: str
    owner: int | None
    nodes: list[Any]


class TaskContext(Protocol):
    """The first argument of every task body.

    Both plain and async task bodies may call all methods. A plain task body runs in one of the
    worker's threads. An async task body runs on the worker's event loop and also occupies one of
    the threads until it ends. A blocking call in an async task body delays all others, so use
    `asyncio.to_thread` for it.
    """

    @property
    def id(self) -> UUID: ...

    @property
    def attempt(self) -> int:
        """Number of this attempt. The first one is 1."""

    @property
    def owner(self) -> int | None:
        """Id of the user who submitted the task. None if the platform submitted it."""

    @property
    def log(self) -> logging.Logger:
        """A logger. Its lines go to the log of the worker and are stored with the attempt."""

    @property
    def cancelled(self) -> bool:
        """True once the cancellation of this task was requested.

        A long task body should check it between two steps of its work.
        """

    def raise_if_cancelled(self) -> None:
        """Raise Cancelled if the task's cancellation was requested.

        The task then ends as revoked.
        """

    @property
    def database(self) -> Sql:
        """Access to the application's database, for async task bodies.

        A statement may take up to a minute.
        """

    def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the worker's event loop and wait for its result.

        A plain (not async) task body can use the database in this way.
        """

    def progress(self, current: int, total: int | None = None, message: str | None = None) -> None:
        """Report that `current` of `total` units of work are done. The default total is 100."""

    def submit(
        self,
        contract: Contract[Any, Any],
        params: Params,
        *,
        key: str | None = None,
        at_once: bool = False,
        delay: timedelta | None = None,
        priority: int | None = None,
    ) -> UUID:
        """Submit a child task.

        The child is stored together with this task's success, so a failed attempt leaves no
        children. With `at_once`, it is stored immediately under a key that is unique within this
        task: `key`, or else the number of the call. If the task runs again, a child that was stored
        in this way is not stored again, and the call returns its id. One attempt may submit 10,000
        child tasks.
        """

    async def start(self, flow: Flow, *, key: str | None = None) -> UUID:
        """Start a separate workflow that belongs to this task's owner. Returns its id.

        The workflow is stored immediately. Inside `context.transaction`, it is committed together
        with that transaction. Its id is derived from this task and from `key`, or else from the
        number of the call. If the task runs again, the workflow is therefore not started again, and
        the same id is returned. A plain task body calls `context.wait_for(context.start(flow))`.

        Raises InvalidFields, WorkflowExists, WorkersTooOld or ServerUnavailable, and stores nothing
        in these cases. One attempt may start 1,000 workflows.
        """

    def gateway(self, kind: type[G]) -> G:
        """Return the client of an outside service by its class.

        All tasks of the process share it.
        """

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """Open a transaction on the application's database. Only async task bodies can use it."""

    async def complete_in(self, transaction: Any, result: Result) -> None:
        """Record this task's success as part of `transaction`.

        The rows that the transaction writes and the success are then committed together. Raises
        StaleClaim if this worker has lost the task to another one. Do not catch this error, so that
        the transaction is rolled back.
        """
