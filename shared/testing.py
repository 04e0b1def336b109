"""Runs a task inline, in the caller's process and loop: no Redis, no worker, no ledger.

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
from shared.workflows import wiring
from shared.workflows.workflow import Workflow

T = TypeVar("T")


class Task(Protocol[P, R]):
    """A function that `@task` has bound to its contract."""

    @property
    def contract(self) -> Contract[P, R]: ...

    def __call__(self, context: TaskContext, params: P) -> R | Awaitable[R]: ...


@dataclass(frozen=True, slots=True)
class Progress:
    """One call of `context.progress`."""

    current: int
    total: int | None
    message: str | None


@dataclass(frozen=True, slots=True)
class InlineChild:
    """One call of `context.submit`."""

    id: UUID
    contract: Contract[Any, Any]
    params: Params
    key: str | None


@dataclass(frozen=True, slots=True)
class InlineStart:
    """One call of `context.start`; `run_workflow_inline` runs the flow."""

    id: UUID
    flow: Workflow
    key: str | None


@dataclass
class InlineRun(Generic[R]):
    """What the body said and returned."""

    id: UUID
    result: R | None = None
    progress: list[Progress] = field(default_factory=list)
    log_lines: list[str] = field(default_factory=list)
    children: list[InlineChild] = field(default_factory=list)
    started: list[InlineStart] = field(default_factory=list)


class InlineContext:
    """Implements `TaskContext` by writing into an InlineRun, with the checks of the real one."""

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
        #: Set before an async body takes its first step.
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
        """In a thread of its own: the caller's loop runs the body."""
        checks.coroutine(work)
        if self.is_async:
            work.close()
            raise RuntimeError("context.wait_for is for plain bodies; an async body awaits")
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
    """Run the body of a task once, with no retry; what it raises is raised here.

    What a worker would refuse is refused here too: raises InvalidFields for parameters or a result that do
    not fit the contract.
    """
    run: InlineRun[R] = InlineRun(uuid7(datetime.now(UTC)))
    context = InlineContext(run, gateways or {}, owner, cancelled, database)
    checked = task.contract.check_params(msgspec.to_builtins(params))
    returned: Any = task(context, checked)
    context.is_async = inspect.isawaitable(returned)
    result = await returned if context.is_async else returned
    # A body that used complete_in has set the result already.
    run.result = run.result if result is None else result
    ended: Any = run.result
    task.contract.encode_result(ended)
    return run


class _Lines(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - reported and not raised, as in a worker
            self.handleError(record)
        else:
            self._lines.append(line)
