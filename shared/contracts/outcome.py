"""How a step of a workflow ended, as parameters of a step after it."""

from typing import Any

import msgspec


class StepOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The end of one task of a step. `step.outcome` and `group.outcomes` fill fields of this type."""

    #: success, failure or revoked; skipped when there was no task. Members that still run when their group
    #: has failed are pending, started or retry.
    status: str
    #: The result as JSON has it; None unless the task succeeded.
    result: Any = None
    error_kind: str | None = None
    error_message: str | None = None
