"""Defines the sessions in Postgres: their settings, and how their connections are closed.

The settings are applied after connecting, because a pooler such as PgBouncer refuses them in the
startup packet.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg

from shared.ledger.time_limit import SERVER_MARGIN_S, STATEMENT_TIMEOUT_S, TASK_STATEMENT_TIMEOUT_S

#: Session setting that makes Postgres use one generic plan per statement. Otherwise, planning the
#: lookup of one row in nine partitions would take four times as long as executing it.
PLANNED_ONCE = {"plan_cache_mode": "force_generic_plan"}
#: Settings for statements that find tasks by id or by place (waiting in Postgres, in a Redis lane, or
#: held by a worker), as all statements of the recorder and the scheduler do. With these settings,
#: statements only use indexes. Postgres considers the partition of a new day empty until it is
#: analyzed, and would otherwise read it completely. Planning a claim over many partitions would
#: take longer than executing it. Index scans over sorted ids also lock rows in the order of the
#: ids. A bitmap scan would lock them in the order on disk, so that two statements over the same
#: rows could deadlock.
BY_INDEX = {
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    **PLANNED_ONCE,
}
#: Time limit in seconds for closing a connection gracefully. A server that does not answer would
#: not answer the close either.
CLOSE_TIMEOUT_S = 2.0


class Connection(asyncpg.Connection):  # type: ignore[misc] # asyncpg is not typed
    """A connection that returns to its pool without a reset, which would take a round trip.

    The platform's own statements leave nothing in the session that has to be reset.
    """

    #: SQL statement that applies the settings of the session.
    set_up: str
    #: Host and port of the server to which this connection leads.
    host: tuple[str, int]

    def get_reset_query(self) -> str:
        """Return an empty query, so that nothing is reset.

        The pool nevertheless rolls back a transaction that is still open.
        """
        return ""

    async def close(self, *, timeout: float | None = None) -> None:
        """Close the connection gracefully. If the server does not answer, cut it."""
        try:
            await super().close(timeout=timeout or CLOSE_TIMEOUT_S)
        except TimeoutError:
            self.terminate()


class RecorderConnection(Connection):
    """A connection that is cut when the caller stops waiting for a statement.

    The driver would otherwise ask the same Postgres, which may not answer, to cancel the statement.
    Postgres cancels the statement by its own time limit. If the statement is committed
    nevertheless, the claim numbers in it prevent any harm.
    """

    def _cancel_current_command(self, *_: object) -> None:
        self.terminate()


class TaskConnection(Connection):
    """A connection that loses the settings of a task body before it returns to its pool."""

    def get_reset_query(self) -> str:
        """Return the driver's own reset query, followed by the statement with our settings."""
        return f"{asyncpg.Connection.get_reset_query(self)}\n{self.set_up}"


@dataclass(frozen=True, slots=True)
class Session:
    """The settings of a connection to Postgres, according to its purpose."""

    #: Names of the process and of its part that uses the connection. The server shows them after
    #: the application's name.
    part: str
    settings: Mapping[str, str]
    kind: type[Connection]
    #: Time limit that the driver applies to each statement. It also limits the statements that the
    #: driver sends by itself. Without it, the cancellation of a statement would wait forever on a
    #: dead connection.
    command_timeout_s: float | None


def of_service(part: str, *, by_index: bool, planned_once: bool) -> Session:
    """A session for the platform's own short statements."""
    more = BY_INDEX if by_index else PLANNED_ONCE if planned_once else {}
    return Session(part, settings(STATEMENT_TIMEOUT_S) | more, Connection, STATEMENT_TIMEOUT_S)


def of_recorder(part: str) -> Session:
    """A session for the ledger loop of a worker (its event loop for Postgres and Redis).

    The driver's time limit is much longer than that of a statement, because it also counts the time
    in which task bodies keep the loop from running.
    """
    limited = settings(STATEMENT_TIMEOUT_S) | BY_INDEX
    return Session(part, limited, RecorderConnection, TASK_STATEMENT_TIMEOUT_S)


def of_tasks(part: str) -> Session:
    """A session for task bodies.

    Their statements may take longer, and may change the state of the session.
    """
    return Session(part, settings(TASK_STATEMENT_TIMEOUT_S), TaskConnection, TASK_STATEMENT_TIMEOUT_S)


def of_migrations() -> Session:
    """A session for migrations, whose statements may take as long as they need.

    `shared.migration` limits the time for which they hold strong locks.
    """
    return Session("migrate", settings(0), Connection, None)


def unlimited(like: Session, part: str) -> Session:
    """A session like the given one, but without time limits.

    If the client vanishes, the server ends the session within half a minute.
    """
    free = {
        "statement_timeout": "0",
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
    }
    return Session(part, {**like.settings, **free}, like.kind, None)


def settings(statement_timeout_s: float) -> dict[str, str]:
    """The session settings that the code relies on, whatever the defaults of the database are."""
    limit_s = max(0.0, statement_timeout_s - SERVER_MARGIN_S)
    return {
        "default_transaction_isolation": "read committed",
        "statement_timeout": f"{limit_s * 1000:.0f}",
        "lock_timeout": "0",
    }


def set_up(values: Mapping[str, str]) -> str:
    """Return one SQL statement that applies these settings to a session."""
    calls = (f"set_config({_literal(name)}, {_literal(value)}, false)" for name, value in values.items())
    return f"SELECT {', '.join(calls)};"


def _literal(text: Any) -> str:
    escaped = str(text).replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'"
