"""The values that some arguments of API calls accept.

Answers use plain strings instead, because a newer API may add values.
"""

from typing import Literal, TypeAlias

TaskStatus: TypeAlias = Literal["pending", "started", "retry", "success", "failure", "revoked"]
WorkflowStatus: TypeAlias = Literal["running", "success", "failure", "revoked"]
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error", "critical"]
#: What a workflow retry does with handlers (steps that react to a failure) that have already run:
#: decide again whether they run, or leave them as they are.
Handlers: TypeAlias = Literal["again", "keep"]
#: What a workflow retry runs again: the tasks that did not succeed; these and all steps below them;
#: one step and all steps below it; or every step.
RetryMode: TypeAlias = Literal["failed", "downstream", "from", "all"]
#: What happens after a step of a workflow fails to steps that do not depend on it: they go on, or
#: they stop.
OnFailure: TypeAlias = Literal["go_on", "stop"]
BulkAction: TypeAlias = Literal["retry", "cancel", "run_now", "release", "change"]
BulkKind: TypeAlias = Literal["task", "workflow"]
ErrorState: TypeAlias = Literal["open", "acknowledged", "muted", "resolved", "regressed"]
#: The states that an operator may set for an error group. The state "regressed" is set by the
#: platform only.
ErrorDecision: TypeAlias = Literal["open", "acknowledged", "muted", "resolved"]
ScheduleKind: TypeAlias = Literal["cron", "interval", "once"]
