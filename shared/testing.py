"""Runs a task inline for unit tests: in the caller's process and event loop, without Redis, a
worker or the database of tasks.

run = await run_inline(send_welcome, SendWelcome(user_id=1), gateways={SmtpGateway: smtp})
assert run.result.email == "…"
assert run.progress[-1].current == 30
"""

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

import msgspec

from shared.contracts import checks
from shared.contracts.context import G, TaskContext
from shared.contracts.contract import Contract, P, Params, R, Result
from shared.errors import Cancelled
from shared.ledger.database import Database
from shared.ledger.ids import uuid7
from shared.telemetry.fields import WithFields
from shared.workflows import wiring
from shared.workflows.workflow import Workflow

T = TypeVar("T")


class Task(Protocol[P, R]):
    """A task function: `@task` has connected it to its contract."""

    @property
    def contract(self) -> Contract[P, R]: ...

    def __call__(self, context: TaskContext, params: P) -> R | Awaitable[R]: ...


@dataclass(frozen=True, slots=True)
class Progress:
    """The arguments of one call of `context.progress`."""

    current: int
    total: int | None
    message: str | None


@dataclass(frozen=True, slots=True)
class InlineChild:
    """A task that the body submitted with `context.submit`."""

    id: UUID
    contract: Contract[Any, Any]
    params: Params
    key: str | None


@dataclass(frozen=True, slots=True)
class InlineStart:
    """A workflow that the body started with `context.start`. It is not run here;
    `run_workflow_inline` runs workflows.
    """

    id: UUID
    flow: Workflow
    key: str | None


@dataclass
class InlineRun(Generic[R]):
    """Everything that the body of a task reported, submitted and returned during an inline run."""

    id: UUID
    result: R | None = None
    progress: list[Progress] = field(default_factory=list)
    log_lines: list[str] = field(default_factory=list)
    children: list[InlineChild] = field(default_factory=list)
    started: list[InlineStart] = field(default_factory=list)


class InlineContext:
    """The context of an inline run. It implements `TaskContext` by recording calls in an InlineRun.
    It checks arguments as a worker does.
    """

    def __init__(
        self,
        run: InlineRun[Any],
        gateways: Mapping[type, Any],
        owner: int | None,
        cancelled: bool,
        database: Database | None,
    ) -> None:
        self._run = run
        self._gateways = gateways
        self._database = database
        self.id = run.id
        self.attempt = 1
        self.owner = owner
        self.cancelled = cancelled
        #: True if the task body is async. This is set before the body takes its first step.
        self.is_async = False
        self.log = checks.attempt_logger("inline", _Lines(run.log_lines))

    @property
    def database(self) -> Database:
        if self._database is None:
            raise RuntimeError("this body uses the database: give run_inline(…, database=…)")
        return self._database

    def raise_if_cancelled(self) -> None:
        if self.cancelled:
            raise Cancelled(f"the cancellation of {self.id} was requested")

    def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """Run the coroutine in a separate thread. The task body occupies the caller's event loop,
        so the coroutine cannot run there.
        """
        checks.coroutine(work)
        if self.is_async:
            work.close()
            raise RuntimeError(
                "context.wait_for is for plain task bodies; in an async task body, await the coroutine"
            )
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, work).result()

    def progress(self, current: int, total: int | None = None, message: str | None = None) -> None:
        checks.progress(current, total, message)
        self._run.progress.append(Progress(current, total, message))

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
        number = len(self._run.children) + 1
        checks.child(contract, params, key=key, delay=delay, priority=priority, number=number)
        contract.encode_params(contract.check_params(msgspec.to_builtins(params)))
        child = InlineChild(uuid7(datetime.now(UTC)), contract, params, key)
        self._run.children.append(child)
        return child.id

    async def start(self, flow: Any, *, key: str | None = None) -> UUID:
        checks.start(flow, key=key, owner=self.owner, number=len(self._run.started) + 1)
        wiring.compile(flow)
        started = InlineStart(uuid7(datetime.now(UTC)), flow, key)
        self._run.started.append(started)
        return started.id

    def gateway(self, kind: type[G]) -> G:
        gateway: G = self._gateways[kind]
        return gateway

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        async with self.database.transaction() as transaction:
            yield transaction

    async def complete_in(self, transaction: Any, result: Result) -> None:
        self._run.result = result


async def run_inline(
    task: Task[P, R],
    params: P,
    *,
    gateways: Mapping[type, Any] | None = None,
    owner: int | None = None,
    cancelled: bool = False,
    database: Database | None = None,
) -> InlineRun[R]:
    """Run the body of a task once, without retries. Exceptions of the body are raised to the
    caller.

    Data that a worker would refuse is refused here too: raises InvalidFields if the parameters or
    the result do not fit the contract.
    """
    run: InlineRun[R] = InlineRun(uuid7(datetime.now(UTC)))
    context = InlineContext(run, gateways or {}, owner, cancelled, database)
    checked = task.contract.check_params(msgspec.to_builtins(params))
    returned: Any = task(context, checked)
    context.is_async = inspect.isawaitable(returned)
    result = await returned if context.is_async else returned
    # A task body that called `complete_in` has already set the result.
    run.result = run.result if result is None else result
    ended: Any = run.result
    task.contract.encode_result(ended)
    return run


class _Lines(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines
        self.setFormatter(WithFields())

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - reported and not raised, as in a worker
            self.handleError(record)
        else:
            self._lines.append(line)
