"""The answers to supervisors."""

from services.api.http.schemas import Answer


class Liveness(Answer):
    #: alive; failing: a background loop does not turn, so the process should be replaced.
    status: str
    #: Background loops that do not turn.
    stalled_loops: list[str]


class Readiness(Answer):
    #: ready; degraded: submissions are stored and sent later; unavailable; stopping: send requests elsewhere.
    status: str
    #: ok, or what is wrong, by name.
    servers: dict[str, str]
