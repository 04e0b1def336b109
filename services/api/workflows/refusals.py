"""What is refused to people who read, cancel or retry a workflow."""

from collections.abc import Sequence

from services.api.http.refusals import Refusal


class WorkflowNotFound(Refusal):
    """No workflow has this id, or it is not the caller's."""

    status, kind = 404, "workflow-not-found"

    def __init__(self, workflow_id: object) -> None:
        super().__init__(
            f"There is no workflow {workflow_id} among yours. List your workflows with GET /api/v1/workflows."
        )


class WorkflowFinished(Refusal):
    """A workflow that has ended cannot be canceled."""

    status, kind = 409, "workflow-finished"

    def __init__(self, status: str) -> None:
        super().__init__(
            f"The workflow has already ended as {status}. Submit a new one if it is to run again."
        )


class WorkflowEnding(Refusal):
    """A workflow that is on its way to its end cannot be retried."""

    status, kind = 409, "workflow-ending"

    def __init__(self) -> None:
        super().__init__(
            "The workflow is ending: it was canceled, its deadline passed, or it stops at a failure. Wait "
            "for its end, then send the request again."
        )
        self.headers = {"Retry-After": "1"}


class WorkflowRetrying(Refusal):
    """A retry was accepted a moment ago, and its tasks have not begun yet."""

    status, kind = 409, "workflow-retrying"

    def __init__(self) -> None:
        super().__init__(
            "A retry of this workflow was accepted a moment ago and is about to begin. Look at the workflow "
            "before you send another one."
        )
        self.headers = {"Retry-After": "1"}


class NothingToRetry(Refusal):
    """No step of the workflow has failed or was canceled."""

    status, kind = 409, "nothing-to-retry"

    def __init__(self, status: str) -> None:
        super().__init__(
            f"No step of this workflow has failed, was canceled or was skipped; it is {status}. Mode "
            "from repeats a step and those below it, also a handler; mode all repeats every step."
        )


class StepsUnfinished(Refusal):
    """Steps that would have to run again have tasks that have not ended."""

    status, kind = 409, "steps-unfinished"

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            f"These steps would have to run again and have not ended: {', '.join(names)}. Wait for their "
            "end, or cancel their tasks, then send the request again."
        )


class StepHasNotRun(Refusal):
    """The step has no tasks in this run, so there is nothing of it to run again."""

    status, kind = 409, "step-has-not-run"

    def __init__(self, name: str, state: str) -> None:
        how = "waits for the steps that it needs" if state == "waiting" else "was skipped"
        super().__init__(
            f"Step {name!r} {how}. Retry from a step before it, or with mode failed, which lets skipped "
            "steps wait again."
        )


class ResultsGone(Refusal):
    """Tasks that a retry needs were deleted with their day."""

    status, kind = 409, "results-gone"

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            f"The retry needs tasks of these steps, which were deleted because of their age: "
            f"{', '.join(names)}. Retry from an earlier step, or submit the workflow again."
        )


class HandlersRan(Refusal):
    """Handlers of the workflow may have made up for what a retry would do again."""

    status, kind = 409, "handlers-ran"

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            f"These handlers of the workflow have run: {', '.join(names)}. A retry does not undo what they "
            'did. Send "handlers": "again" to have them judged again, or "handlers": "keep" to leave them '
            "as they are."
        )
