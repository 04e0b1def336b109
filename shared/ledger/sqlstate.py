"""Sorts Postgres' errors by SQLSTATE: the one place that decides what an error means for the caller.

- *passing*: Postgres cannot serve this now (read-only, disk full, canceled, deadlock, stale plan …). The same
  statement may succeed later, so the caller keeps its data and tries again. Raised as ServerUnavailable.
- *data*: this row's own values break a rule. A retry would end the same way.
- *defect*: the statement does not fit the database (unknown column, missing right). Neither the data nor the
  caller is to blame, and an operator has to act.

Source: appendix A of the PostgreSQL 18 manual, "PostgreSQL Error Codes".
"""

import re
import ssl
from enum import Enum
from typing import Any, Final
from uuid import UUID

import asyncpg

from shared.errors import ServerAway, ServerRefuses, ServerUnavailable, TlsFails
from shared.ledger import partitions

#: The driver raises these when no answer arrived or the connection is gone.
NO_ANSWER: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # A pooled connection that the server closed a moment ago.
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)

#: Classes in which every error passes: connection, authorization (a password that is being rotated),
#: transaction rollback, insufficient resources, object state, operator intervention, system error, internal
#: error.
PASSING_CLASSES: Final = frozenset({"08", "28", "40", "53", "55", "57", "58", "XX"})
#: Single states that pass although their class does not: read-only transaction, idle-in-transaction time-out,
#: transaction time-out, database does not exist (it is being restored).
PASSING_STATES: Final = frozenset({"25006", "25P03", "25P04", "3D000"})
#: Data exception, integrity constraint violation, program limit exceeded.
DATA_CLASSES: Final = frozenset({"22", "23", "54"})
CHECK_VIOLATION: Final = "23514"
READ_ONLY: Final = "25006"
QUERY_CANCELED: Final = "57014"
LOCK_NOT_AVAILABLE: Final = "55P03"
TOO_MANY_CONNECTIONS: Final = "53300"
#: Why a statement timed out before it was sent, in the cancellation behind the TimeoutError.
ALL_IN_USE: Final = "all connections of this process are in use"
#: Upper bound for the errors that are followed in a chain of causes, because a chain may be a ring.
MAX_CHAIN: Final = 100

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Meaning(Enum):
    """What an error of Postgres means for the sender of the statement."""

    PASSING = "passing"
    DATA = "data"
    DEFECT = "defect"


def meaning(error: asyncpg.PostgresError) -> Meaning:
    """Sort an error that Postgres answered with."""
    state = error.sqlstate or ""
    if state in PASSING_STATES or state[:2] in PASSING_CLASSES:
        return Meaning.PASSING
    # The driver raises it where the server's plan went stale inside a transaction; the next one plans again.
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return Meaning.PASSING
    if _misses_partition(error):
        return Meaning.PASSING
    return Meaning.DATA if state[:2] in DATA_CLASSES else Meaning.DEFECT


def unavailable(error: BaseException) -> ServerUnavailable | None:
    """The domain's error for a driver's error that passes; None for data errors, defects and all else."""
    if isinstance(error, asyncpg.OutdatedSchemaCacheError):
        return ServerRefuses("Postgres", str(error))
    if isinstance(error, TimeoutError) and _says(error.__cause__, ALL_IN_USE):
        return ServerRefuses("Postgres", ALL_IN_USE)
    if isinstance(error, ssl.SSLError):
        return TlsFails("Postgres", _tls_reason(error), "sslmode and sslrootcert in DATABASE_URL")
    if isinstance(error, asyncpg.exceptions.ClientConfigurationError):  # a file of DATABASE_URL is gone
        return ServerAway("Postgres", reason=_reason(error))
    if isinstance(error, NO_ANSWER):
        # The driver's complaint about an argument is an InterfaceError too, but no outage.
        return None if isinstance(error, ValueError) else ServerAway("Postgres", reason=_reason(error))
    if isinstance(error, asyncpg.PostgresError) and meaning(error) is Meaning.PASSING:
        reason = _missing_partition(error) if _misses_partition(error) else _reason(error)
        return ServerRefuses("Postgres", reason, sqlstate=error.sqlstate)
    return None


def lacks_connection(error: BaseException) -> bool:
    """Postgres had no connection left; the error may have been translated and wrapped since."""
    link: BaseException | None = error
    for _ in range(MAX_CHAIN):
        if link is None or getattr(link, "sqlstate", None) == TOO_MANY_CONNECTIONS:
            return link is not None
        link = link.__cause__ or link.__context__
    return False


def _says(error: BaseException | None, text: str) -> bool:
    return error is not None and error.args == (text,)


def _tls_reason(error: ssl.SSLError) -> str:
    """Without the place in OpenSSL's source code."""
    return getattr(error, "verify_message", None) or (error.reason or str(error)).replace("_", " ").lower()


def _misses_partition(error: Any) -> bool:
    """No partition for the row's day: a check violation that names no constraint."""
    return error.sqlstate == CHECK_VIOLATION and not getattr(error, "constraint_name", None)


def _missing_partition(error: Any) -> str:
    """Names the partition by the id that Postgres quotes in the error's detail."""
    found = _UUID.search(getattr(error, "detail", None) or "")
    table = getattr(error, "table_name", None)
    if not found or not table:
        return _reason(error)
    return partitions.missing(partitions.partition_name(table, partitions.day_of_id(UUID(found[0]))))


def _reason(error: BaseException) -> str:
    """The driver's words on one line; its time-outs have none."""
    return " ".join(str(error).split())
