"""The audit log as it is read."""

from datetime import datetime
from typing import Any
from uuid import UUID

from services.api.http.schemas import Answer


class AuditEntry(Answer):
    id: UUID
    at: datetime
    #: Id of the account that acted; null without a sign-in.
    actor: int | None
    #: session, key or command line; null without a sign-in.
    credential: str | None
    #: Id of the session or the API key.
    credential_id: UUID | None
    #: IPv4 address, or the /64 of an IPv6 address.
    network: str | None
    action: str
    #: account, key, task, schedule or route; null for a sign-in with an unknown address.
    target_kind: str | None
    target: str | None
    #: The values that the act changed, as they were and as they are then.
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    reason: str | None
    #: The answer carried it as X-Request-Id.
    request_id: str | None


class AuditPage(Answer):
    items: list[AuditEntry]
    #: Give it as `cursor` to get the next page; null on the last one.
    next_cursor: str | None
