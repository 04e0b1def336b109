"""Defines the outcome of a workflow step, which later steps can take as a parameter."""

from typing import Any

import msgspec


class StepOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one task of a workflow step.

    Parameters that are filled from `step.outcome` or `group.outcomes` have this type.
    """

    #: Status of the task: "success", "failure", "revoked", or "skipped" if the step was skipped and
    #: has no task. If a group has failed while some of its tasks were unfinished, their status is
    #: "pending", "started" or "retry".
    status: str
    #: The result of the task as JSON values. None unless the task succeeded.
    result: Any = None
    error_kind: str | None = None
    error_message: str | None = None
