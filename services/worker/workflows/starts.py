"""Begins the workflows of `context.start`. Ids of their first tasks are pushed from the ledger loop."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Self
from uuid import UUID

from services.worker.resources import Resources
from shared.ledger.database import Database, in_fresh_context
from shared.submission import Submitter
from shared.transport.queues import Address
from shared.vault import Vault
from shared.workflows.submission import Origin, WorkflowSubmitter
from shared.workflows.wiring import Graph

log = logging.getLogger(__name__)


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
        self._after_commit: ContextVar[list[Address] | None] = ContextVar("started", default=None)

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
        addresses: list[Address] = []
        token = self._after_commit.set(addresses)
        try:
            yield
        finally:
            self._after_commit.reset(token)
        self._push(addresses)

    async def push_after_commit(self, addresses: Sequence[Address]) -> None:
        """Push stored ids, or leave that to the transaction in which they were stored."""
        collected = self._after_commit.get()
        if collected is not None:
            collected.extend(addresses)
        elif not self._database.in_transaction():
            self._push(addresses)

    def _push(self, addresses: Sequence[Address]) -> None:
        """The body does not wait for it. What is not pushed, the dispatcher sends."""
        if addresses:
            sending = asyncio.run_coroutine_threadsafe(in_fresh_context(self._send(addresses)), self._loop)
            sending.add_done_callback(_report)

    async def _send(self, addresses: Sequence[Address]) -> None:
        await self._submitter.push(addresses)
        await self._submitter.mark()


def _report(sending: "Future[None]") -> None:
    if error := sending.exception():
        log.warning("the dispatcher sends the first tasks of a workflow: %s", error, exc_info=error)
