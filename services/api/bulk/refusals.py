"""Defines the errors that requests for bulk operations can get."""

from services.api.http.refusals import Refusal


class BulkNotFound(Refusal):
    """Raised when no bulk operation has this id, or it belongs to another account."""

    status, kind = 404, "bulk-not-found"

    def __init__(self, bulk_id: object) -> None:
        super().__init__(f"There is no bulk operation {bulk_id}. List them with GET /api/v1/bulk.")


class BulkEnded(Refusal):
    """Raised when a bulk operation cannot be stopped, because it has already ended."""

    status, kind = 409, "bulk-ended"

    def __init__(self, bulk_id: object) -> None:
        super().__init__(
            f"The bulk operation {bulk_id} has ended. GET /api/v1/bulk/{bulk_id} shows what it did."
        )


class MatchesMoved(Refusal):
    """Raised when the number of matching tasks or workflows has changed since the operation was
    previewed.
    """

    status, kind = 409, "matches-moved"

    def __init__(self, expected: int, found: int) -> None:
        super().__init__(
            f"The filter matches {found} now, but {expected} were expected: a difference of more than 10 %. "
            "Send the request with dry_run again, check the answer, and start the operation with the new "
            "token."
        )


class TooManyBulkOperations(Refusal):
    """Raised when a bulk operation cannot start, because the account has the maximum number of
    unfinished bulk operations.
    """

    status, kind = 409, "too-many-bulk-operations"

    def __init__(self, most: int) -> None:
        super().__init__(
            f"You have {most} bulk operations that have not ended, which is the limit. Wait for one, or stop "
            "one with DELETE /api/v1/bulk/{bulk_id}."
        )
