"""Stores the tasks of concurrent requests in one statement and one commit.

A lone request is stored immediately. Requests that arrive while a write is in progress share the next one.
A request that is given up while it waits is not stored.
"""

import asyncio
from uuid import UUID

from shared.errors import ServerUnavailable
from shared.submission import CheckedTask, Submitter

#: Upper bound for the tasks of one statement, and so for what waits for one commit.
MOST = 500

Waiting = tuple[CheckedTask, "asyncio.Future[UUID]"]


class GroupCommit:
    """Groups the submissions to one submitter."""

    def __init__(self, submitter: Submitter) -> None:
        self._submitter = submitter
        self._waiting: list[Waiting] = []
        self._storing: asyncio.Task[None] | None = None

    async def submit(self, task: CheckedTask) -> UUID:
        """The task's id once it is committed. Raises what `Submitter.submit` raises for this task."""
        stored: asyncio.Future[UUID] = asyncio.get_running_loop().create_future()
        self._waiting.append((task, stored))
        if self._storing is None:
            self._storing = asyncio.create_task(self._store_all())
        return await stored

    async def _store_all(self) -> None:
        try:
            while group := self._next_group():
                await self._store(group)
        finally:
            self._storing = None

    def _next_group(self) -> list[Waiting]:
        """Without the requests that were given up meanwhile, which canceled their futures."""
        wanted = [each for each in self._waiting if not each[1].cancelled()]
        group, self._waiting = wanted[:MOST], wanted[MOST:]
        return group

    async def _store(self, group: list[Waiting]) -> None:
        """Store a group; if Postgres refuses it because of one task, store each task alone."""
        try:
            ids = await self._submitter.submit([task for task, _ in group])
        except ServerUnavailable as error:
            _refuse(group, error)
        except Exception as error:  # noqa: BLE001 - the requests wait for it, whatever it is
            if len(group) == 1:
                _refuse(group, error)
            else:
                for alone in group:
                    if not alone[1].cancelled():
                        await self._store([alone])
        else:
            for task_id, (_, stored) in zip(ids, group, strict=True):
                if not stored.done():  # its request may have been given up
                    stored.set_result(task_id)


def _refuse(group: list[Waiting], error: Exception) -> None:
    for _, stored in group:
        if not stored.done():
            stored.set_exception(error)
