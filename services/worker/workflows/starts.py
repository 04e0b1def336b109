"""Begins the workflows of `context.start`. Ids of their first tasks are pushed from the ledger loop."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Self
from uuid import UUID

from services.worker.resources import Resources
from shared.ledger.database import Database, in_fresh_context
from shared.submission import Submitter
from shared.transport.events import Changes
from shared.transport.queues import Address
from shared.vault import Vault
from shared.workflows.submission import Origin, WorkflowSubmitter
from shared.workflows.wiring import Graph

log = logging.getLogger(__name__)

#: The first tasks of a workflow that may start at once, and how they are published.
Begun = tuple[Sequence[Address], Callable[[], Changes]]


class Starts:
    """Runs on the loop of async bodies."""

    def __init__(
        self, database: Database, vault: Vault, submitter: Submitter, loop: asyncio.AbstractEventLoop
    ) -> None:
        """`database` is the pool of bodies; `submitter` belongs to `loop`, the ledger loop."""
        self._database = database
        self._workflows = WorkflowSubmitter(database, self, vault)
        self._submitter = submitter
        self._loop = loop
        self._after_commit: ContextVar[list[Begun] | None] = ContextVar("started", default=None)

    @classmethod
    def of(cls, resources: Resources, loop: asyncio.AbstractEventLoop) -> Self:
        """`loop` is the ledger loop."""
        submitter = Submitter(resources.ledger, resources.queues, resources.vault)
        return cls(resources.database, resources.vault, submitter, loop)

    async def start(self, graph: Graph, workflow_id: UUID, *, owner: int | None, parent: UUID) -> None:
        """Begin a workflow under this id, unless it exists. Raises what `WorkflowSubmitter.submit` raises."""
        await self._workflows.submit_as(replace(graph, owner=owner), workflow_id, Origin(parent=parent))

    @asynccontextmanager
    async def pushed_after(self) -> AsyncIterator[None]:
        """Around a transaction of the body: push what it began, once it is committed."""
        begun: list[Begun] = []
        token = self._after_commit.set(begun)
        try:
            yield
        finally:
            self._after_commit.reset(token)
        self._push(begun)

    async def push_after_commit(self, addresses: Sequence[Address], changes: Callable[[], Changes]) -> None:
        """Push stored ids and publish changes, or leave that to the transaction in which they were stored."""
        collected = self._after_commit.get()
        if collected is not None:
            collected.append((addresses, changes))
        elif not self._database.in_transaction():
            self._push([(addresses, changes)])

    def _push(self, begun: Sequence[Begun]) -> None:
        """The body does not wait for it. What is not pushed, the dispatcher sends."""
        if begun:
            sending = asyncio.run_coroutine_threadsafe(in_fresh_context(self._send(begun)), self._loop)
            sending.add_done_callback(_report)

    async def _send(self, begun: Sequence[Begun]) -> None:
        for addresses, changes in begun:
            await self._submitter.push_after_commit(addresses, changes)
        await self._submitter.mark()


def _report(sending: "Future[None]") -> None:
    if error := sending.exception():
        log.warning("the dispatcher sends the first tasks of a workflow: %s", error, exc_info=error)
