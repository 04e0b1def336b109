"""API calls for bulk operations, by which a worker carries out one action on everything that
matches a filter.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from often_client.answers import Bulk, BulkPreview, BulkStarted, BulkStopped, Page
from often_client.choices import BulkAction, BulkKind
from often_client.exchange import Call, Steps
from often_client.methods import Calls, listing, method


class BulkCalls(Calls):
    @method
    def preview_bulk(
        self,
        action: BulkAction,
        filter: Mapping[str, Any],
        *,
        kind: BulkKind = "task",
        changes: Mapping[str, Any] | None = None,
        rate: int | None = None,
    ) -> Steps[BulkPreview]:
        """Preview a bulk operation: count what matches its filter. Nothing is changed.

        `filter` takes the filters of `tasks`, at least one of them. `changes` are the new priority
        and queue for the action "change". `rate` is the maximum number of actions per second.
        """
        body = {"action": action, "kind": kind, "filter": filter, "changes": changes, "rate": rate}
        return self._ask(Call("POST", "bulk", BulkPreview, body={**body, "dry_run": True}))

    @method
    def start_bulk(
        self,
        action: BulkAction,
        filter: Mapping[str, Any],
        preview: BulkPreview,
        *,
        kind: BulkKind = "task",
        changes: Mapping[str, Any] | None = None,
        rate: int | None = None,
        reason: str | None = None,
    ) -> Steps[BulkStarted]:
        """Start a bulk operation that was previewed. The other arguments must be those of the
        preview.

        Raises Conflict if the number of matches has changed by more than a tenth since the preview.
        """
        act = {"action": action, "kind": kind, "filter": filter, "changes": changes, "rate": rate}
        agreed = {"token": preview.token, "expected": preview.matches, "reason": reason}
        return self._ask(Call("POST", "bulk", BulkStarted, body={**act, **agreed}))

    @method
    def bulk(self, bulk_id: UUID) -> Steps[Bulk]:
        """Return a bulk operation and its progress."""
        return self._ask(Call("GET", f"bulk/{bulk_id}", Bulk))

    @listing
    def bulk_acts(self, *, page_size: int | None = None) -> Call[Page[Bulk]]:
        """List bulk operations, newest first."""
        return Call("GET", "bulk", Page[Bulk], query={"limit": page_size})

    @method
    def stop_bulk(self, bulk_id: UUID) -> Steps[BulkStopped]:
        """Stop a bulk operation. What it has done is not undone."""
        return self._ask(Call("DELETE", f"bulk/{bulk_id}", BulkStopped))
