"""The response bodies of the route that lists the audit log."""

from datetime import datetime
from typing import Any
from uuid import UUID

from services.api.http.schemas import Answer


class AuditEntry(Answer):
    id: UUID
    at: datetime
    #: Id of the account that acted; null if the caller was not signed in.
    actor: int | None
    #: How the caller was identified: "session", "key" (an API key) or "command line". Null if the
    #: caller was not signed in.
    credential: str | None
    #: Id of the session or of the API key that the caller used.
    credential_id: UUID | None
    #: The client's network: an IPv4 address, or the /64 network of an IPv6 address.
    network: str | None
    action: str
    #: Kind of the object that was acted on: account, key, task, schedule, route and others. Null
    #: for a sign-in with an unknown address.
    target_kind: str | None
    target: str | None
    #: The values that the action changed, as they were before it; `after` has the new values.
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    reason: str | None
    #: The X-Request-Id of the request that performed the action.
    request_id: str | None


class AuditPage(Answer):
    items: list[AuditEntry]
    #: Cursor of the next page, to be sent as the parameter `cursor`. Null on the last page.
    next_cursor: str | None
