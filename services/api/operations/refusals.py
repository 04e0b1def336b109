"""Defines the errors of requests that change queues, workers or error groups."""

from collections.abc import Iterable

from services.api.http.refusals import Refusal


class QueueNotFound(Refusal):
    """Raised when a queue is unknown: no contract names it, no worker serves it, and it was never
    paused.
    """

    status, kind = 404, "queue-not-found"

    def __init__(self, queue: str, known: Iterable[str]) -> None:
        super().__init__(f"There is no queue {queue}. The queues are {', '.join(known)}.")


class QueueNeverPaused(Refusal):
    """Raised when a queue cannot be paused, because bulk operations run in it."""

    status, kind = 409, "queue-never-paused"

    def __init__(self, queue: str) -> None:
        super().__init__(
            f"The queue {queue} cannot be paused, because bulk operations run in it, with which other queues "
            "can be cleared. Pause the queue that has the tasks you want to hold back."
        )


class ErrorGroupNotFound(Refusal):
    """Raised when no error group has this fingerprint."""

    status, kind = 404, "error-group-not-found"

    def __init__(self, fingerprint: str) -> None:
        super().__init__(
            f"There is no error group {fingerprint}. Groups that were not seen for 400 days are removed. "
            "List them with GET /api/v1/operations/errors."
        )


class WorkerNotFound(Refusal):
    """Raised when no worker has this id. The rows of former workers are kept for a week."""

    status, kind = 404, "worker-not-found"

    def __init__(self, worker_id: object) -> None:
        super().__init__(f"There is no worker {worker_id}. List the workers with GET /api/v1/workers.")


class WorkerGone(Refusal):
    """Raised when a request is for a worker that has stopped or was declared dead."""

    status, kind = 409, "worker-gone"

    def __init__(self, worker_id: object) -> None:
        super().__init__(f"The worker {worker_id} has ended. List the living ones with GET /api/v1/workers.")


class WorkerEnding(Refusal):
    """Raised when a request is for a worker that has already been asked to stop."""

    status, kind = 409, "worker-ending"

    def __init__(self, worker_id: object, asked: str) -> None:
        super().__init__(
            f"The worker {worker_id} was asked to {asked} and stops as soon as it can. It accepts no further "
            "requests."
        )
