"""What is refused to people who make, change or fire a schedule."""

from services.api.http.refusals import Refusal
from shared.errors import FieldProblem


class ScheduleNotFound(Refusal):
    """No schedule has this name."""

    status, kind = 404, "schedule-not-found"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no schedule {name}. List the schedules with GET /api/v1/schedules.")


class ScheduleExists(Refusal):
    """A schedule of this name exists."""

    status, kind = 409, "schedule-exists"

    def __init__(self, name: str) -> None:
        detail = (
            f"A schedule {name} exists. Change it with PATCH /api/v1/schedules/{name}, or take another name."
        )
        super().__init__(detail, [FieldProblem("name", "is taken")])


class ScheduleDeclared(Refusal):
    """A contract declares this schedule, so it would come back."""

    status, kind = 409, "schedule-declared"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The schedule {name} is declared in the code and would come back. "
            f"Switch it off with PATCH /api/v1/schedules/{name} and enabled false."
        )


class ScheduleStillRunning(Refusal):
    """The schedule lets no two of its firings run at once."""

    status, kind = 409, "schedule-still-running"

    def __init__(self, kind: str, work_id: object) -> None:
        super().__init__(
            f"Its {kind} {work_id} has not ended, and overlap is skip. Wait for it, or cancel it with "
            f"DELETE /api/v1/{kind}s/{work_id}."
        )


class ScheduleJustFired(Refusal):
    """A firing of this second is recorded."""

    status, kind = 409, "schedule-just-fired"

    def __init__(self) -> None:
        super().__init__("It was fired within this second. Wait a second, then send the request again.")
