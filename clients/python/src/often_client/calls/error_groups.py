"""API calls for error groups, which are failed attempts with the same cause. They require an
operator.
"""

from collections.abc import Sequence
from datetime import datetime

from often_client.answers import ErrorDetail, ErrorGroup, Page
from often_client.choices import ErrorDecision, ErrorState
from often_client.exchange import Call, Steps, segment
from often_client.methods import Calls, listing, method


class ErrorCalls(Calls):
    @listing
    def errors(
        self,
        *,
        state: Sequence[ErrorState] | None = None,
        name: str | None = None,
        since: datetime | None = None,
        page_size: int | None = None,
    ) -> Call[Page[ErrorGroup]]:
        """List error groups, last seen first.

        `state` may be a sequence, of which any item matches. `name` is a kind of task.
        """
        query = {"state": state, "name": name, "since": since, "limit": page_size}
        return Call("GET", "operations/errors", Page[ErrorGroup], query=query)

    @method
    def error(self, fingerprint: str) -> Steps[ErrorDetail]:
        """Return one error group with its counts for each of the last 24 hours."""
        return self._ask(Call("GET", f"operations/errors/{segment(fingerprint)}", ErrorDetail))

    @method
    def change_error(
        self,
        fingerprint: str,
        state: ErrorDecision,
        *,
        until: datetime | None = None,
        note: str | None = None,
    ) -> Steps[ErrorDetail]:
        """Set the state of an error group. With the state "muted", it becomes open again at
        `until`.
        """
        body = {"state": state, "until": until, "note": note}
        return self._ask(Call("PATCH", f"operations/errors/{segment(fingerprint)}", ErrorDetail, body=body))
