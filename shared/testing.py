"""Runs a task inline, in the caller's process and loop: no Redis, no worker, no ledger.

run = await run_inline(send_welcome, SendWelcome(user_id=1), gateways={SmtpGateway: smtp})
assert run.result.email == "…"
assert run.progress[-1].current == 30
"""

import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Generic
from uuid import UUID

from shared.contracts.context import G, TaskContext
from shared.contracts.contract import Contract, P, Params, R, Result
from shared.ledger import engine
from shared.ledger.ids import uuid7


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


@dataclass
class InlineRun(Generic[R]):
    """What the body said and returned."""

    id: UUID
    result: R | None = None
    progress: list[Progress] = field(default_factory=list)
    log_lines: list[str] = field(default_factory=list)
    children: list[InlineChild] = field(default_factory=list)


class InlineContext:
    """Implements `TaskContext` by writing into an InlineRun."""

    def __init__(
        self, run: InlineRun[Any], gateways: Mapping[type, Any], owner: int | None, cancelled: bool
    ) -> None:
        self._run = run
        self._gateways = gateways
        self.id = run.id
        self.attempt = 1
        self.owner = owner
        self.cancelled = cancelled
        self.log = logging.Logger("task.inline", logging.INFO)
        self.log.addHandler(_Lines(run.log_lines))

    def progress(self, current: int, total: int | None = None, message: str | None = None) -> None:
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
        contract.encode_params(params)
        child = InlineChild(uuid7(datetime.now(UTC)), contract, params, key)
        self._run.children.append(child)
        return child.id

    def gateway(self, kind: type[G]) -> G:
        gateway: G = self._gateways[kind]
        return gateway

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        async with engine.transaction() as transaction:
            yield transaction

    async def complete_in(self, transaction: Any, result: Result) -> None:
        self._run.result = result


async def run_inline(
    task: Callable[[TaskContext, P], R | Awaitable[R]],
    params: P,
    *,
    gateways: Mapping[type, Any] | None = None,
    owner: int | None = None,
    cancelled: bool = False,
) -> InlineRun[R]:
    """Run the body once, with no retry; what it raises is raised here."""
    run: InlineRun[R] = InlineRun(uuid7(datetime.now(UTC)))
    context = InlineContext(run, gateways or {}, owner, cancelled)
    returned: Any = task(context, params)
    result = await returned if inspect.isawaitable(returned) else returned
    # A body that used complete_in has set the result already.
    run.result = run.result if result is None else result
    return run


class _Lines(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))
