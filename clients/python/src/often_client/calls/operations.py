"""API calls for operators: the health of the platform, queues and workers."""

from uuid import UUID

from often_client.answers import (
    Page,
    Queue,
    QueueList,
    QueuePaused,
    QueuePurged,
    QueueResumed,
    SystemHealth,
    Worker,
    WorkerAsked,
)
from often_client.exchange import Call, Steps, segment
from often_client.methods import Calls, listing, method


class OperationCalls(Calls):
    @method
    def health(self) -> Steps[SystemHealth]:
        """Return what is wrong with the platform now, most severe problem first."""
        return self._ask(Call("GET", "operations/health", SystemHealth))

    @method
    def queues(self) -> Steps[list[Queue]]:
        """List all queues, with the numbers of their waiting tasks."""
        return (yield from self._ask(Call("GET", "queues", QueueList))).items

    @method
    def queue(self, queue: str) -> Steps[Queue]:
        """Return one queue, with the number of its waiting tasks."""
        return self._ask(Call("GET", f"queues/{segment(queue)}", Queue))

    @method
    def pause_queue(self, queue: str, reason: str) -> Steps[QueuePaused]:
        """Pause a queue: its tasks wait until it is resumed. Running tasks continue."""
        return self._ask(Call("POST", f"queues/{segment(queue)}/pause", QueuePaused, body={"reason": reason}))

    @method
    def resume_queue(self, queue: str, *, reason: str | None = None) -> Steps[QueueResumed]:
        """End the pause of a queue: its tasks start again."""
        return self._ask(
            Call("POST", f"queues/{segment(queue)}/resume", QueueResumed, body={"reason": reason})
        )

    @method
    def purge_queue(self, queue: str, *, confirm: str, reason: str | None = None) -> Steps[QueuePurged]:
        """Cancel about 10,000 waiting tasks of a queue. Requires an administrator.

        `confirm` must repeat the name of the queue. Call it again while the answer's `more` is
        true.
        """
        body = {"confirm": confirm, "reason": reason}
        return self._ask(Call("POST", f"queues/{segment(queue)}/purge", QueuePurged, body=body, wait_s=60))

    @listing
    def workers(self, *, dead: bool | None = None, page_size: int | None = None) -> Call[Page[Worker]]:
        """List workers with their running tasks.

        With `dead`, the list includes workers that ended within the last week.
        """
        return Call("GET", "workers", Page[Worker], query={"dead": dead, "limit": page_size})

    @method
    def quiet_worker(self, worker_id: UUID, *, reason: str | None = None) -> Steps[WorkerAsked]:
        """Ask a worker to take no new tasks. Its process and its running tasks continue."""
        return self._ask(_worker(worker_id, "quiet", reason))

    @method
    def drain_worker(self, worker_id: UUID, *, reason: str | None = None) -> Steps[WorkerAsked]:
        """Ask a worker to finish its running tasks and then to end."""
        return self._ask(_worker(worker_id, "drain", reason))

    @method
    def recycle_worker(self, worker_id: UUID, *, reason: str | None = None) -> Steps[WorkerAsked]:
        """Ask a worker to finish its running tasks and then to restart under a new id."""
        return self._ask(_worker(worker_id, "recycle", reason))


def _worker(worker_id: UUID, act: str, reason: str | None) -> Call[WorkerAsked]:
    return Call("POST", f"workers/{worker_id}/{act}", WorkerAsked, body={"reason": reason})
