"""Error responses of requests that read or cancel a workflow.

Errors of retries are in `shared.workflows.refusals`.
"""

from services.api.http.refusals import Refusal


class WorkflowNotFound(Refusal):
    """Raised when no workflow has this id, or it belongs to another account."""

    status, kind = 404, "workflow-not-found"

    def __init__(self, workflow_id: object) -> None:
        super().__init__(
            f"There is no workflow {workflow_id} among yours. List your workflows with GET /api/v1/workflows."
        )


class WorkflowFinished(Refusal):
    """Raised when a workflow cannot be canceled because it has ended."""

    status, kind = 409, "workflow-finished"

    def __init__(self, status: str) -> None:
        super().__init__(
            f"The workflow has already ended as {status}. Submit a new one if it is to run again."
        )
