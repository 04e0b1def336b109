"""The entries of the audit log."""

from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct


class AuditEntry(Struct, kw_only=True):
    id: UUID
    at: datetime
    actor: int | None
    credential: str | None
    credential_id: UUID | None
    network: str | None
    action: str
    target_kind: str | None
    target: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    reason: str | None
    request_id: str | None
