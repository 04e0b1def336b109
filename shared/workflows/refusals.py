"""The reasons for which a request to retry a workflow is refused. The API answers with them, and
bulk operations count them by kind.
"""

from collections.abc import Sequence
from typing import ClassVar

from shared.errors import Refused


class RetryRefused(Refused):
    """Base class of the reasons for refusing a retry. The message says what to do next."""

    #: Last part of the `type` of the API's problem document. Programs can tell errors apart by it.
    kind: ClassVar[str]
    #: Additional headers of the API's answer.
    headers: ClassVar[dict[str, str]] = {}


class WorkflowGone(RetryRefused):
    """Retry refused: the workflow was deleted because of its age."""

    kind = "workflow-not-found"

    def __init__(self, workflow_id: object) -> None:
        super().__init__(f"The workflow {workflow_id} was deleted because of its age. Submit it again.")


class WorkflowEnding(RetryRefused):
    """Retry refused: the workflow is being stopped and has not ended yet."""

    kind = "workflow-ending"
    headers: ClassVar = {"Retry-After": "1"}

    def __init__(self) -> None:
        super().__init__(
            "The workflow is ending: it was canceled, its deadline passed, or it stops at a failure. Wait "
            "for its end, then send the request again."
        )


class WorkflowRetrying(RetryRefused):
    """Retry refused: an earlier retry was accepted a moment ago, and its tasks have not
    begun yet.
    """

    kind = "workflow-retrying"
    headers: ClassVar = {"Retry-After": "1"}

    def __init__(self) -> None:
        super().__init__(
            "A retry of this workflow was accepted a moment ago and is about to begin. Look at the workflow "
            "before you send another one."
        )


class NothingToRetry(RetryRefused):
    """Retry refused: no step of the workflow has failed, was canceled or was skipped."""

    kind = "nothing-to-retry"

    def __init__(self, status: str) -> None:
        super().__init__(
            f"No step of this workflow has failed, was canceled or was skipped; the workflow is {status}. "
            "Mode from repeats a step, which may be a handler, and the steps below it. Mode all repeats "
            "every step."
        )


class StepsUnfinished(RetryRefused):
    """Retry refused: some steps that would have to run again have unfinished tasks."""

    kind = "steps-unfinished"

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            f"These steps would have to run again and have not ended: {', '.join(names)}. Wait for their "
            "end, or cancel their tasks, then send the request again."
        )


class StepHasNotRun(RetryRefused):
    """Retry refused: the chosen step has no tasks in the current run, so there is nothing to run
    again.
    """

    kind = "step-has-not-run"

    def __init__(self, name: str, state: str) -> None:
        how = "waits for the steps that it needs" if state == "waiting" else "was skipped"
        super().__init__(
            f"Step {name!r} {how}. Retry from a step before it, or with mode failed, which lets skipped "
            "steps wait again."
        )


class ResultsGone(RetryRefused):
    """Retry refused: tasks that it needs were deleted because of their age, with the partition of
    their day.
    """

    kind = "results-gone"

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            f"The retry needs tasks of these steps, which were deleted because of their age: "
            f"{', '.join(names)}. Retry from an earlier step, or submit the workflow again."
        )


class HandlersRan(RetryRefused):
    """Retry refused: failure handlers of the workflow have run. They may have compensated for work
    that the retry would do again, for example with a refund.
    """

    kind = "handlers-ran"

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            f"These handlers of the workflow have run: {', '.join(names)}. A retry does not undo what they "
            'did. Send "handlers": "again" to have them judged again, or "handlers": "keep" to leave them '
            "as they are."
        )
