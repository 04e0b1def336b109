"""Error responses of actions on one task, and of requests for a running task's call stacks."""

from collections.abc import Iterable

from services.api.http.refusals import Refusal
from shared.errors import FieldProblem


class TaskNotRunning(Refusal):
    """Raised when stacks of a task are requested that no worker is running."""

    status, kind = 409, "task-not-running"

    def __init__(self, status: str) -> None:
        super().__init__(f"The task is {status}, so it has no stack. Ask while its status is started.")


class HoldsTheInterpreter(Refusal):
    """Raised when a worker cannot show stacks, because a task body blocks its interpreter."""

    status, kind = 504, "holds-the-interpreter"

    def __init__(self, worker_id: object, silent_s: float) -> None:
        super().__init__(
            f"The worker {worker_id} has sent no heartbeat for {silent_s:.1f} s: a call in one of its task "
            "bodies blocks the interpreter, or the process is stopped. After OFTEN_STALL_AFTER, the worker "
            "writes its stacks to its log and exits."
        )


class NoStackAnswer(Refusal):
    """Raised when a worker that is alive has not returned the requested stacks in time."""

    status, kind = 504, "worker-does-not-answer"

    def __init__(self, worker_id: object) -> None:
        super().__init__(
            f"The worker {worker_id} is alive but does not answer. The task may have ended meanwhile, or the "
            "worker may be of a release that cannot show stacks. Look the task up, then ask again."
        )


class TaskNotWaiting(Refusal):
    """Raised when a task cannot be changed because it is running or has ended."""

    status, kind = 409, "task-not-waiting"

    def __init__(self, status: str) -> None:
        super().__init__(
            f"Only a waiting task can be changed. This one is {status}: a worker holds it, or it has ended. "
            "To change what it does, cancel it, then retry it with the changes."
        )


class EditRestricted(Refusal):
    """Raised when a user tries to change anything but the priority of a task, which only staff may
    do.
    """

    status, kind = 403, "edit-restricted"

    def __init__(self, fields: Iterable[str]) -> None:
        problems = [FieldProblem(field, "may be changed by operators only") for field in fields]
        super().__init__("Your role may change only the priority. Ask an operator for the rest.", problems)


class ParamsChanged(Refusal):
    """Raised when stored parameters have changed since the editor read them.

    The request wanted to leave sensitive parameters unchanged, so it must not use the old values.
    """

    status, kind = 409, "params-changed"

    def __init__(self, fields: Iterable[str]) -> None:
        rule = "was to stay as it is, but the parameters were changed meanwhile"
        problems = [FieldProblem(f"params.{field}", rule) for field in sorted(fields)]
        super().__init__(
            "Another request has changed the parameters. Look the task up, and edit it again.", problems
        )


class NotInCrashLoop(Refusal):
    """Raised when a task to be released is not in a crash loop.

    Only a task that was failed because it kept killing its workers can be released.
    """

    status, kind = 409, "not-in-crash-loop"

    def __init__(self, status: str) -> None:
        super().__init__(
            f"Only a task that was given up because it killed its workers can be released; this one is "
            f"{status}. Retry other tasks that failed with POST /api/v1/tasks/{{id}}/retry."
        )


class BelongsToWorkflow(Refusal):
    """Raised when a task was given up because it killed its workers, and a request to let it run
    again (release) is refused because the task belongs to a workflow. It has to be retried instead.

    Failure handlers of the workflow may have run, and only a retry request says what happens to
    them.
    """

    status, kind = 409, "belongs-to-workflow"

    def __init__(self, task_id: object) -> None:
        super().__init__(
            f"The task belongs to a workflow. Start it again with POST /api/v1/tasks/{task_id}/retry, which "
            "also ends a crash loop and asks about handlers of the workflow that have run."
        )


class MustRunAlone(Refusal):
    """Raised when a task must run alone but its queue is paused, which makes that impossible.

    A task must run alone after its worker has died during the task.
    """

    status, kind = 409, "must-run-alone"

    def __init__(self) -> None:
        super().__init__(
            "The worker that last ran this task died, so the task must run alone next time. That is "
            "impossible while its queue is paused: resume the queue."
        )
