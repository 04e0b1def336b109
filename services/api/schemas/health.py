"""What supervisors are told."""

from services.api.schemas.base import Answer


class Liveness(Answer):
    status: str


class Readiness(Answer):
    #: ready; degraded: submissions are stored and sent later; unavailable.
    status: str
    #: ok or away, by name.
    servers: dict[str, str]
