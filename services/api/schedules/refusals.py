"""Error responses of requests that create, change, remove, fire or backfill a schedule."""

from services.api.http.refusals import Refusal
from shared.errors import FieldProblem


class ScheduleNotFound(Refusal):
    """Raised when no schedule has the requested name."""

    status, kind = 404, "schedule-not-found"

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no schedule {name}. List the schedules with GET /api/v1/schedules.")


class ScheduleExists(Refusal):
    """Raised when a new schedule's name is already taken."""

    status, kind = 409, "schedule-exists"

    def __init__(self, name: str) -> None:
        detail = (
            f"A schedule {name} exists. Change it with PATCH /api/v1/schedules/{name}, or take another name."
        )
        super().__init__(detail, [FieldProblem("name", "is taken")])


class ScheduleDeclared(Refusal):
    """Raised on an attempt to remove a schedule that the code declares, because it would be created
    again.
    """

    status, kind = 409, "schedule-declared"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The schedule {name} is declared in the code, so it would be created again. "
            f"Switch it off with PATCH /api/v1/schedules/{name} and enabled false."
        )


class ScheduleStillRunning(Refusal):
    """Raised when the schedule's earlier task or workflow still runs and its `overlap` is skip."""

    status, kind = 409, "schedule-still-running"

    def __init__(self, kind: str, work_id: object) -> None:
        super().__init__(
            f"The {kind} {work_id} of an earlier firing has not ended, and the schedule's overlap is skip. "
            f"Wait for it, or cancel it with DELETE /api/v1/{kind}s/{work_id}."
        )


class ScheduleRunsAlone(Refusal):
    """Raised by a backfill of several missing times if the schedule's `overlap` is skip.

    Such a schedule runs only one task at a time.
    """

    status, kind = 409, "schedule-runs-alone"

    def __init__(self, name: str, missing: int) -> None:
        super().__init__(
            f"{missing} times are missing, and the schedule's overlap is skip, so only one can be submitted. "
            "Choose a span with one missing time, or set overlap to allow with "
            f"PATCH /api/v1/schedules/{name}."
        )


class ScheduleJustFired(Refusal):
    """Raised when a schedule is fired by request twice within the same second.

    The second is the nominal time of such a firing, and each nominal time can fire only once.
    """

    status, kind = 409, "schedule-just-fired"

    def __init__(self) -> None:
        super().__init__(
            "The schedule was already fired within this second. Wait a second, then send the request again."
        )
