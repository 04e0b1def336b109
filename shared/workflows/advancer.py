"""Advances workflows, and does what must follow the commit: pushes new tasks, notifies workers of
canceled tasks, and updates metrics.

The owner of an `Advancer` must call `mark` within three seconds of a push. Otherwise, the
dispatcher sends the ids a second time.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from uuid import UUID

from shared.errors import ServerUnavailable
from shared.ledger.database import Database
from shared.ledger.transitions.send import MARK_SENT
from shared.telemetry import metrics
from shared.transport.events import Changes, Publisher, TaskChange
from shared.transport.queues import Address, Queues
from shared.workflows.advance import Advanced, advance
from shared.workflows.applying import NewTask

log = logging.getLogger(__name__)

#: Maximum number of ids that are pushed, or marked as sent, at a time.
PUSH = 2_000


class Advancer:
    """Advances workflows. A worker uses it immediately after recording the end of a workflow's
    task, and the leading scheduler uses it for all other events.
    """

    def __init__(self, database: Database, queues: Queues) -> None:
        self._database = database
        self._queues = queues
        self._publisher = Publisher(queues)
        self._unmarked: list[UUID] = []

    async def advance(self, ids: Sequence[UUID]) -> Advanced:
        """Advance these workflows and push their new tasks. If Redis is unavailable, the dispatcher
        sends the tasks later.

        Raises ServerUnavailable if Postgres is unavailable.
        """
        with metrics.WORKFLOW_ADVANCE_SECONDS.time():
            advanced = await advance(self._database, ids)
        for status in advanced.ended:
            metrics.WORKFLOWS_FINISHED.labels(status).inc()
        count(advanced.tasks)
        if advanced.moved:
            self._publisher.soon(lambda: _changes(advanced))
        try:
            await self._push([task for task in advanced.tasks if task.direct])
            await self._queues.announce_cancel(*advanced.held)
        except ServerUnavailable as error:
            log.warning("%s; new tasks of workflows were not pushed, the dispatcher sends them", error)
        return advanced

    async def _push(self, tasks: Sequence[NewTask]) -> None:
        for first in range(0, len(tasks), PUSH):
            share = tasks[first : first + PUSH]
            await self._queues.push([Address(task.id, task.queue, task.priority) for task in share])
            self._unmarked += [task.id for task in share]

    async def mark(self) -> None:
        """Mark the pushed tasks as sent. This is done a moment after the push, because by then
        workers have claimed most of them, which need no mark.

        The dispatcher sends an unmarked task a second time, but only one of the two copies can be
        claimed. Raises ServerUnavailable.
        """
        pushed, self._unmarked = sorted(self._unmarked), []
        for first in range(0, len(pushed), PUSH):
            ids = pushed[first : first + PUSH]
            await self._database.run(MARK_SENT, id=ids, claim=[0] * len(ids))


def new(tasks: Iterable[NewTask]) -> list[TaskChange]:
    """The changes by which event streams show newly stored tasks."""
    return [
        TaskChange(
            task.id, 0, "pending", task.name, task.queue, task.owner, workflow=task.workflow, step=task.step
        )
        for task in tasks
    ]


def _changes(advanced: Advanced) -> Changes:
    changed = [TaskChange.from_row(row) for row in (*advanced.again, *advanced.cancelled)]
    return Changes([*new(advanced.tasks), *changed], workflows=advanced.moved)


def count(tasks: Iterable[NewTask]) -> None:
    """Count newly stored tasks in the metrics, like tasks that clients submit."""
    for labels, number in Counter((task.queue, task.name) for task in tasks).items():
        metrics.SUBMITTED.labels(*labels).inc(number)
