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
    """A workflow that is being canceled cannot be retried."""

    status, kind = 409, "workflow-ending"

    def __init__(self) -> None:
        super().__init__("The workflow is being canceled. Wait for its end, then send the request again.")
        self.headers = {"Retry-After": "1"}


class NothingToRetry(Refusal):
    """No step of the workflow has failed or was canceled."""

    status, kind = 409, "nothing-to-retry"

    def __init__(self, status: str) -> None:
        super().__init__(
            f"No step of this workflow has failed or was canceled; it is {status}. A handler is retried as a "
            "task: POST /api/v1/tasks/{task_id}/retry."
        )


class HandlersRan(Refusal):
    """Handlers of the workflow may have made up for what a retry would do again."""

    status, kind = 409, "handlers-ran"

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            f"These handlers of the workflow have run: {', '.join(names)}. A retry does not undo what they "
            "did. Add handlers=keep to retry all the same and leave them as they are."
        )
