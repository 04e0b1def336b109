"""Starts the workflows that task bodies request with `context.start`.

A workflow is stored on the event loop of the task bodies. The ids of its first tasks are then
pushed to Redis on the ledger loop (the event loop by which a worker uses Postgres and Redis).
"""

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

#: What remains to be done after a workflow is stored: tasks to push to Redis, and changes to
#: publish.
Begun = tuple[Sequence[Address], Callable[[], Changes]]


class Starts:
    """Starts workflows for task bodies, on the event loop on which the bodies run."""

    def __init__(
        self, database: Database, vault: Vault, submitter: Submitter, loop: asyncio.AbstractEventLoop
    ) -> None:
        """`database` is the connection pool of task bodies.

        `submitter` may only be used on `loop`, the worker's event loop for Postgres and Redis.
        """
        self._database = database
        self._workflows = WorkflowSubmitter(database, self, vault)
        self._submitter = submitter
        self._loop = loop
        self._after_commit: ContextVar[list[Begun] | None] = ContextVar("started", default=None)

    @classmethod
    def of(cls, resources: Resources, loop: asyncio.AbstractEventLoop) -> Self:
        """Create the instance from the resources of a worker.

        `loop` is the worker's event loop for Postgres and Redis.
        """
        submitter = Submitter(resources.ledger, resources.queues, resources.vault)
        return cls(resources.database, resources.vault, submitter, loop)

    async def start(self, graph: Graph, workflow_id: UUID, *, owner: int | None, parent: UUID) -> None:
        """Start a workflow under this id, unless it already exists. Raises what
        `WorkflowSubmitter.submit` raises.
        """
        await self._workflows.submit_as(replace(graph, owner=owner), workflow_id, Origin(parent=parent))

    @asynccontextmanager
    async def pushed_after(self) -> AsyncIterator[None]:
        """Wrap a transaction of a task body.

        After its commit, push the first tasks of the workflows that were started in it.
        """
        begun: list[Begun] = []
        token = self._after_commit.set(begun)
        try:
            yield
        finally:
            self._after_commit.reset(token)
        self._push(begun)

    async def push_after_commit(self, addresses: Sequence[Address], changes: Callable[[], Changes]) -> None:
        """Push the ids of stored tasks to Redis and publish changes.

        Inside a transaction, this happens after its commit.
        """
        collected = self._after_commit.get()
        if collected is not None:
            collected.append((addresses, changes))
        elif not self._database.in_transaction():
            self._push([(addresses, changes)])

    def _push(self, begun: Sequence[Begun]) -> None:
        """Push task ids to Redis in the background, so that the task body does not wait.

        If this fails, the dispatcher sends the tasks later.
        """
        if begun:
            sending = asyncio.run_coroutine_threadsafe(in_fresh_context(self._send(begun)), self._loop)
            sending.add_done_callback(_report)

    async def _send(self, begun: Sequence[Begun]) -> None:
        for addresses, changes in begun:
            await self._submitter.push_after_commit(addresses, changes)
        await self._submitter.mark()


def _report(sending: "Future[None]") -> None:
    if sending.cancelled():
        log.info(
            "the worker is stopping before it pushed the first tasks of a workflow; the dispatcher sends them"
        )
    elif error := sending.exception():
        log.warning(
            "the first tasks of a workflow were not pushed; the dispatcher sends them: %s",
            error,
            exc_info=error,
        )
