"""The API call that reads the audit log, for operators and administrators."""

from datetime import datetime

from often_client.answers import AuditEntry, Page
from often_client.exchange import Call
from often_client.methods import Calls, listing


class AuditCalls(Calls):
    @listing
    def audit(
        self,
        *,
        actor: int | None = None,
        action: str | None = None,
        target_kind: str | None = None,
        target: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        page_size: int | None = None,
    ) -> Call[Page[AuditEntry]]:
        """List the entries of the audit log that match all filters, newest first.

        The filter `target` needs `target_kind`.
        """
        query = {
            "actor": actor,
            "action": action,
            "target_kind": target_kind,
            "target": target,
            "since": since,
            "until": until,
            "limit": page_size,
        }
        return Call("GET", "audit", Page[AuditEntry], query=query)
