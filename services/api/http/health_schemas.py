"""The response bodies of the health checks."""

from services.api.http.schemas import Answer


class Liveness(Answer):
    #: State of the process: "alive", or "failing" if a background loop has stalled and the process
    #: should be replaced.
    status: str
    #: Names of the background loops that have stalled.
    stalled_loops: list[str]


class Readiness(Answer):
    #: Readiness of the process: "ready", "degraded" (tasks are stored and sent later),
    #: "unavailable" or "stopping" (send requests to another process).
    status: str
    #: State of Postgres and of Redis: "ok" or a description of the problem.
    servers: dict[str, str]
