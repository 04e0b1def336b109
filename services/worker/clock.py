"""Wall-clock time as the database sees it, so that rows written by many machines compare."""

from datetime import UTC, datetime, timedelta


class DatabaseClock:
    """This machine's clock, corrected by the difference to Postgres that the last heartbeat saw."""

    def __init__(self) -> None:
        self._offset = timedelta(0)

    def adjust(self, database_now: datetime) -> None:
        self._offset = database_now - datetime.now(UTC)

    def now(self) -> datetime:
        return datetime.now(UTC) + self._offset
