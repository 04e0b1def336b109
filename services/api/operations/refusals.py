"""What is refused to operators."""

from collections.abc import Iterable

from services.api.http.refusals import Refusal
from shared.errors import FieldProblem


class QueueNotFound(Refusal):
    """No contract names this queue, no worker serves it, and it was never paused."""

    status, kind = 404, "queue-not-found"

    def __init__(self, queue: str, known: Iterable[str]) -> None:
        super().__init__(f"There is no queue {queue}. The queues are {', '.join(known)}.")


class QueueNeverPaused(Refusal):
    """Acts on many tasks run in this queue."""

    status, kind = 409, "queue-never-paused"

    def __init__(self, queue: str) -> None:
        super().__init__(
            f"The queue {queue} cannot be paused, because acts on many tasks run in it. Pause the queue of "
            "the tasks that are to wait."
        )


class WorkerNotFound(Refusal):
    """No worker has this id. Rows of workers that are gone are kept for a week."""

    status, kind = 404, "worker-not-found"

    def __init__(self, worker_id: object) -> None:
        super().__init__(f"There is no worker {worker_id}. List the workers with GET /api/v1/workers.")


class WorkerGone(Refusal):
    """The worker has ended, or was declared dead."""

    status, kind = 409, "worker-gone"

    def __init__(self, worker_id: object) -> None:
        super().__init__(f"The worker {worker_id} has ended. List those that live with GET /api/v1/workers.")


class WorkerEnding(Refusal):
    """The worker was asked to end before."""

    status, kind = 409, "worker-ending"

    def __init__(self, worker_id: object, asked: str) -> None:
        super().__init__(
            f"The worker {worker_id} was asked to {asked} and ends as soon as it can. Nothing more can be "
            "asked of it."
        )


class TaskNotRunning(Refusal):
    """No worker runs the task."""

    status, kind = 409, "task-not-running"

    def __init__(self, status: str) -> None:
        super().__init__(f"The task is {status}, so it has no stack. Ask while its status is started.")


class HoldsTheInterpreter(Refusal):
    """The worker runs no Python of its own, so it cannot answer."""

    status, kind = 504, "holds-the-interpreter"

    def __init__(self, worker_id: object, silent_s: float) -> None:
        super().__init__(
            f"The worker {worker_id} has given no sign of life for {silent_s:.1f} s: a call of one of its "
            "bodies holds the interpreter, or the process stands still. After OFTEN_STALL_AFTER it writes "
            "its stacks to its log and ends."
        )


class NoStackAnswer(Refusal):
    """The worker lives and has not answered in time."""

    status, kind = 504, "worker-does-not-answer"

    def __init__(self, worker_id: object) -> None:
        super().__init__(
            f"The worker {worker_id} lives, but does not answer. The task may have ended meanwhile, or the "
            "worker is of a release that cannot show stacks. Look the task up, then ask again."
        )


class TaskNotWaiting(Refusal):
    """Only a task that waits can be changed."""

    status, kind = 409, "task-not-waiting"

    def __init__(self, status: str) -> None:
        super().__init__(
            f"Only a task that waits can be changed; this one is {status}, and a worker has it or it has "
            "ended. Cancel it if it is to run otherwise, then retry it with the changes."
        )


class EditRestricted(Refusal):
    """Users change the priority of their tasks only."""

    status, kind = 403, "edit-restricted"

    def __init__(self, fields: Iterable[str]) -> None:
        problems = [FieldProblem(field, "is changed by operators and administrators") for field in fields]
        super().__init__("Your role may change the priority only. Ask an operator to do it.", problems)


class NotInCrashLoop(Refusal):
    """Only a task that was given up because it kills workers is released."""

    status, kind = 409, "not-in-crash-loop"

    def __init__(self, status: str) -> None:
        super().__init__(
            f"Only a task that was given up because it killed its workers is released; this one is {status}. "
            "Retry other tasks that failed with POST /api/v1/tasks/{id}/retry."
        )


class BelongsToWorkflow(Refusal):
    """Handlers of the task's workflow may have run, and only a retry asks what becomes of them."""

    status, kind = 409, "belongs-to-workflow"

    def __init__(self, task_id: object) -> None:
        super().__init__(
            f"The task belongs to a workflow. Start it again with POST /api/v1/tasks/{task_id}/retry, which "
            "also ends a crash loop and asks about handlers of the workflow that have run."
        )


class MustRunAlone(Refusal):
    """The worker of the task died, so it has to run alone first. That is not possible past a pause."""

    status, kind = 409, "must-run-alone"

    def __init__(self) -> None:
        super().__init__(
            "The last worker of this task died, so it must run alone first, which it cannot do past a pause. "
            "Resume its queue."
        )
