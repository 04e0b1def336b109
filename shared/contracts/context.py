"""What a task's body may ask of the process that runs it.

The worker implements it for real, `shared.testing` for tests.
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
    """Runs single statements; inside `context.transaction` they belong to the transaction."""

    async def run(self, sql: Any, *values: Any, **named: Any) -> list[dict[str, Any]]:
        """Run one statement and return its rows.

        In a plain text `{}` stands for a value; a `Statement` takes its values by name. Raises
        ServerUnavailable, which is an expected error.
        """

    async def connect(self) -> Any:
        """A connection of asyncpg outside the pool and without time limits; the caller closes it."""

    def translated(self) -> AbstractAsyncContextManager[None]:
        """Raise ServerUnavailable for the driver's passing errors, where such a connection is used."""


@runtime_checkable
class Flow(Protocol):
    """A `shared.workflows.workflow.Workflow`, which contracts do not know."""

    name: str
    owner: int | None
    nodes: list[Any]


class TaskContext(Protocol):
    """Handed to every task as its first argument. All methods may be called from plain and async bodies.

    A plain body runs in one of the worker's threads. An async body runs on the worker's event loop and holds
    one of the threads too, until it ends. A blocking call in an async body delays every other one: use
    `asyncio.to_thread` for it.
    """

    @property
    def id(self) -> UUID: ...

    @property
    def attempt(self) -> int:
        """1 for the first start."""

    @property
    def owner(self) -> int | None:
        """User who submitted the task; None for the platform itself."""

    @property
    def log(self) -> logging.Logger:
        """Its lines go to the process' log and are kept with the attempt."""

    @property
    def cancelled(self) -> bool:
        """True once cancellation was requested; a long body looks at it between two steps."""

    def raise_if_cancelled(self) -> None:
        """Raise Cancelled once cancellation was requested; the task is then revoked."""

    @property
    def database(self) -> Sql:
        """The application's database, for async bodies. Statements may take up to a minute."""

    def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the worker's event loop and wait for it: how a plain body uses the database."""

    def progress(self, current: int, total: int | None = None, message: str | None = None) -> None:
        """Show how far the task is; `current` from 0 to `total`, which is 100 until it is given."""

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

        It is stored together with this task's success, so a failed attempt leaves no children. With
        `at_once` it is stored right away under a key unique to this task (`key`, else its ordinal): a
        rerun does not store it again, and returns the id of the first one. One attempt may submit 10,000.
        """

    async def start(self, flow: Flow, *, key: str | None = None) -> UUID:
        """Begin a separate workflow, which belongs to the owner of this task. Returns its id.

        It is stored right away, and inside `transaction` together with that. Its id follows from this task
        and `key`, else the ordinal of the call: a rerun does not begin it again, and gets the same id. A
        plain body calls `context.wait_for(context.start(flow))`.

        Raises InvalidFields, WorkflowExists, WorkersTooOld or ServerUnavailable; then nothing is stored. One
        attempt may start 1,000.
        """

    def gateway(self, kind: type[G]) -> G:
        """The process' client of an outside service."""

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """A transaction on the tables of the application, for async bodies."""

    async def complete_in(self, transaction: Any, result: Result) -> None:
        """Write this task's success inside `transaction`, so that its rows and the success commit together.

        Raises StaleClaim when another claim owns the task; let it pass, so that the transaction rolls back.
        """
