"""Carries out what a caller requests for one task: cancel, retry, run now, or release.

Each action changes the task's row, publishes the change to event streams, and notifies the worker
if one holds the task.
"""

import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from services.api import after_commit
from services.api.http.refusals import NotRetriable
from services.api.identity.rights import Reader
from services.api.tasks import task_acts
from services.api.tasks.edits import Edits
from services.api.tasks.ledger_view import LedgerView
from services.api.tasks.refusals import BelongsToWorkflow, NotInCrashLoop, TaskNotWaiting
from services.api.tasks.schemas import Submitted, TaskRetryBody
from services.api.workflows.retries import Retries
from shared.errors import TaskFinished
from shared.ledger.database import Database
from shared.ledger.lifecycle import FINAL, Status
from shared.ledger.tally import Tally
from shared.telemetry import metrics
from shared.transport.events import Changes, Publisher, TaskChange
from shared.transport.queues import Queues

CANCELED = "The task is canceled and will not run."
CANCEL_ASKED = "Cancellation requested. The worker that has the task was notified."
CANCEL_LATE = "Cancellation requested. The worker that has the task learns of it with its next heartbeat."
#: The response message when an operator lets a task run although its queue is paused, but the
#: task's id cannot be pushed because Redis is unavailable.
NOT_PAST = (
    "The task waits for the end of the pause, because Redis is unavailable. Send the request again later."
)


class Acts:
    """The actions behind the routes for single tasks.

    Each method raises TaskNotFound if the caller may not see the task.
    """

    def __init__(
        self,
        database: Database,
        ledger: LedgerView,
        queues: Queues,
        publisher: Publisher,
        tally: Tally,
        retries: Retries,
        edits: Edits,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._queues = queues
        self._publisher = publisher
        self._tally = tally
        self._retries = retries
        self._edits = edits

    async def cancel(self, task_id: UUID, reader: Reader) -> tuple[Submitted, bool]:
        """Cancel a task. Raises TaskFinished.

        Returns the response, and True if the task has ended immediately.
        """
        task = await self._ledger.find(task_id, reader)
        asked = time.monotonic()
        row = await task_acts.cancel(self._database, task, reader)
        if row is None:
            ended = task if task["status"] in FINAL else await self._ledger.find(task_id, reader)
            raise TaskFinished(task_id, ended["status"])
        self._publish(row)
        if row["holder"] is None:
            # The task was waiting, so the same statement requested the cancellation and ended the
            # task.
            metrics.CANCEL_SECONDS.labels("waiting").observe(time.monotonic() - asked)
            self._tally.add(task["queue"], task["name"], Status.REVOKED)
            return Submitted(task_id, row["status"], CANCELED), True
        late = "the worker learns of the cancellation with its next heartbeat"
        hinted = await after_commit.given(self._queues.announce_cancel(task_id), late, task_id=task_id)
        return Submitted(task_id, row["status"], CANCEL_ASKED if hinted else CANCEL_LATE), False

    async def retry(self, task_id: UUID, wanted: TaskRetryBody, reader: Reader) -> Submitted:
        """Retry a task.

        Raises NotRetriable, and the errors of `Edits.checked` and `Retries.choose_for_task`.
        """
        task = await self._ledger.find(task_id, reader)
        edit = await self._edits.checked(
            task,
            reader,
            params=wanted.params,
            queue=wanted.queue,
            priority=wanted.priority,
            reason=wanted.reason,
        )
        row = await task_acts.retry(self._database, self._retries, task, edit, wanted, reader)
        if row is None:
            raise NotRetriable((await self._ledger.find(task_id, reader))["status"])
        self._publish(row)
        when = f"in {wanted.delay_s:g} s" if wanted.delay_s else "within a second"
        return Submitted(task_id, row["status"], f"The task starts again {when}.")

    async def run_now(
        self, task_id: UUID, reader: Reader, *, past_pause: bool, reason: str | None
    ) -> Submitted:
        """Let a waiting task start now instead of at its planned time.

        With `past_pause`, it starts even if its queue is paused. Raises TaskNotWaiting or
        MustRunAlone.
        """
        task = await self._ledger.find(task_id, reader)
        row = await task_acts.run_now(self._database, task, reader, past_pause=past_pause, reason=reason)
        if row is None:
            raise TaskNotWaiting((await self._ledger.find(task_id, reader))["status"])
        self._publish(row)
        if not row["paused"]:
            return Submitted(task_id, row["status"], "The task starts as soon as a worker is free.")
        if not past_pause:
            message = (
                f"The queue {row['queue']} is paused, so the task waits. Send past_pause to run it "
                "nevertheless."
            )
            return Submitted(task_id, row["status"], message)
        late = "the task waits for the end of the pause"
        pushed = await after_commit.given(
            self._queues.push_past(row["queue"], task_id), late, task_id=task_id
        )
        message = "The task starts despite the pause as soon as a worker is free." if pushed else NOT_PAST
        return Submitted(task_id, row["status"], message)

    async def release(self, task_id: UUID, reader: Reader, *, reason: str | None) -> Submitted:
        """Let a task run again that was failed because it kept killing its workers (a crash loop).

        Raises BelongsToWorkflow or NotInCrashLoop.
        """
        task = await self._ledger.find(task_id, reader)
        if task["workflow"] is not None:
            raise BelongsToWorkflow(task_id)
        row = await task_acts.release(self._database, task, reason, reader)
        if row is None:
            raise NotInCrashLoop((await self._ledger.find(task_id, reader))["status"])
        self._publish(row)
        return Submitted(task_id, row["status"], "The task starts again within a second.")

    def _publish(self, row: Mapping[str, Any]) -> None:
        self._publisher.soon(lambda: Changes([TaskChange.from_row(row)]))
