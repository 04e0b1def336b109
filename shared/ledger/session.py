"""Sessions of Postgres: their settings, and how the driver ends them.

Settings are SET after connecting. A pooler such as PgBouncer refuses them in the packet that opens a
connection.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg

from shared.ledger.time_limit import SERVER_MARGIN_S, STATEMENT_TIMEOUT_S, TASK_STATEMENT_TIMEOUT_S

#: One generic plan for each statement. Planning the look-up of one row over nine partitions takes four times
#: as long as running it.
PLANNED_ONCE = {"plan_cache_mode": "force_generic_plan"}
#: Statements of the recorder and of the scheduler find their rows by id or by place. Postgres takes a new day
#: for empty until it analyzes it, and would read whole partitions. To plan a claim over many partitions takes
#: longer than to run it.
#: Rows that are given by sorted ids are also locked in that order. A bitmap scan locks them in the order of
#: the disk, and two statements over the same rows would wait for each other.
BY_INDEX = {
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    **PLANNED_ONCE,
}
#: A server that fell silent does not answer a farewell either.
CLOSE_TIMEOUT_S = 2.0


class Connection(asyncpg.Connection):  # type: ignore[misc] # asyncpg is not typed
    """Returns to its pool without a round trip that resets it: our own statements leave nothing behind."""

    #: Statements that set up the session.
    set_up: str
    #: Host and port.
    host: tuple[str, int]

    def get_reset_query(self) -> str:
        """Open transactions are rolled back all the same."""
        return ""

    async def close(self, *, timeout: float | None = None) -> None:
        """Say farewell, and cut the connection when no answer comes."""
        try:
            await super().close(timeout=timeout or CLOSE_TIMEOUT_S)
        except TimeoutError:
            self.terminate()


class RecorderConnection(Connection):
    """Closes when a statement is given up, instead of asking the same Postgres to cancel it.

    Postgres cancels the statement by its own time limit. If it still commits, the claim's number guards it.
    """

    def _cancel_current_command(self, *_: object) -> None:
        self.terminate()


class TaskConnection(Connection):
    """Forgets what a body has set before it returns to its pool."""

    def get_reset_query(self) -> str:
        """The driver's own query, and then our settings again."""
        return f"{asyncpg.Connection.get_reset_query(self)}\n{self.set_up}"


@dataclass(frozen=True, slots=True)
class Session:
    """What a connection is opened for."""

    #: The process, and which of its parts; the server shows this after the name of the application.
    part: str
    settings: Mapping[str, str]
    kind: type[Connection]
    #: The driver's own limit for a statement. It bounds what the driver does by itself: otherwise canceling a
    #: statement waits forever on a connection whose other end has vanished.
    command_timeout_s: float | None


def of_service(part: str, *, by_index: bool, planned_once: bool) -> Session:
    """For a process' own short statements."""
    more = BY_INDEX if by_index else PLANNED_ONCE if planned_once else {}
    return Session(part, settings(STATEMENT_TIMEOUT_S) | more, Connection, STATEMENT_TIMEOUT_S)


def of_recorder(part: str) -> Session:
    """For the ledger loop of a worker. The driver's own time-outs go on while the loop cannot run."""
    limited = settings(STATEMENT_TIMEOUT_S) | BY_INDEX
    return Session(part, limited, RecorderConnection, TASK_STATEMENT_TIMEOUT_S)


def of_tasks(part: str) -> Session:
    """For the bodies of tasks, whose statements may take longer and leave session state behind."""
    return Session(part, settings(TASK_STATEMENT_TIMEOUT_S), TaskConnection, TASK_STATEMENT_TIMEOUT_S)


def of_migrations() -> Session:
    """Statements may take as long as they need; `shared.migration` limits those that hold strong locks."""
    return Session("migrate", settings(0), Connection, None)


def unlimited(like: Session, part: str) -> Session:
    """Without time limits. The server ends it within half a minute when this end has vanished."""
    free = {
        "statement_timeout": "0",
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
    }
    return Session(part, {**like.settings, **free}, like.kind, None)


def settings(statement_timeout_s: float) -> dict[str, str]:
    """What the code relies on in every session, whatever the database or the role has as its default."""
    limit_s = max(0.0, statement_timeout_s - SERVER_MARGIN_S)
    return {
        "default_transaction_isolation": "read committed",
        "statement_timeout": f"{limit_s * 1000:.0f}",
        "lock_timeout": "0",
    }


def set_up(values: Mapping[str, str]) -> str:
    """One statement that gives a session these settings."""
    calls = (f"set_config({_literal(name)}, {_literal(value)}, false)" for name, value in values.items())
    return f"SELECT {', '.join(calls)};"


def _literal(text: Any) -> str:
    escaped = str(text).replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'"
