"""Classifies the errors of Postgres by SQLSTATE, to decide what they mean for the caller.

No other module decides this. There are three meanings:

- *passing*: Postgres cannot run the statement now (read-only, disk full, canceled, deadlock,
outdated plan …). It may succeed later, so the caller keeps its data and tries again. Such an error
is raised as ServerUnavailable.

- *data*: a value of the row breaks a rule. A retry would end in the same way.

- *defect*: the statement does not fit the database (unknown column, missing right). Neither the
data nor the caller is to blame, and an operator has to act.

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

#: Errors of the driver which mean that no answer arrived or that the connection is lost.
NO_ANSWER: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # Raised if the server has just closed a connection of the pool.
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)

#: Beginning of the driver's error message if it could not send a statement, because the server has
#: just closed the connection and the driver does not know it yet.
NEVER_SENT: Final = "cannot switch to state"

#: Classes of SQLSTATE (its first two characters) in which every error is temporary: connection,
#: authorization (a password is being changed), transaction rollback, insufficient resources, object
#: state, operator intervention, system error, internal error.
PASSING_CLASSES: Final = frozenset({"08", "28", "40", "53", "55", "57", "58", "XX"})
#: Single SQLSTATEs of other classes that are temporary: read-only transaction, idle-in-transaction
#: time-out, transaction time-out, database does not exist (it is being restored).
PASSING_STATES: Final = frozenset({"25006", "25P03", "25P04", "3D000"})
#: Classes of SQLSTATE in which the data is to blame: data exception, integrity constraint
#: violation, program limit exceeded.
DATA_CLASSES: Final = frozenset({"22", "23", "54"})
CHECK_VIOLATION: Final = "23514"
READ_ONLY: Final = "25006"
QUERY_CANCELED: Final = "57014"
LOCK_NOT_AVAILABLE: Final = "55P03"
TOO_MANY_CONNECTIONS: Final = "53300"
#: Reason of a time-out that happened because no connection was free, so that the statement was not
#: sent. It is the message of the cancellation that caused the TimeoutError.
ALL_IN_USE: Final = "all connections of this process are in use"
#: Maximum number of errors to follow in a chain of causes, because a chain may be circular.
MAX_CHAIN: Final = 100

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Meaning(Enum):
    """What an error of Postgres means for the caller that sent the statement."""

    PASSING = "passing"
    DATA = "data"
    DEFECT = "defect"


def meaning(error: asyncpg.PostgresError) -> Meaning:
    """Classify an error that Postgres returned."""
    state = error.sqlstate or ""
    if state in PASSING_STATES or state[:2] in PASSING_CLASSES:
        return Meaning.PASSING
    # This error means that the server's plan became outdated inside a transaction. The next
    # transaction plans the statement again.
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return Meaning.PASSING
    if _misses_partition(error):
        return Meaning.PASSING
    return Meaning.DATA if state[:2] in DATA_CLASSES else Meaning.DEFECT


def unavailable(error: BaseException) -> ServerUnavailable | None:
    """Convert a temporary error of the driver into a ServerUnavailable.

    None for errors of the data, for defects, and for all other errors.
    """
    if isinstance(error, asyncpg.OutdatedSchemaCacheError):
        return ServerRefuses("Postgres", str(error))
    if isinstance(error, TimeoutError) and _says(error.__cause__, ALL_IN_USE):
        return ServerRefuses("Postgres", ALL_IN_USE)
    if isinstance(error, ssl.SSLError):
        return TlsFails("Postgres", _tls_reason(error), "sslmode and sslrootcert in DATABASE_URL")
    # For example, a certificate file that DATABASE_URL names does not exist any more
    if isinstance(error, asyncpg.exceptions.ClientConfigurationError):
        return ServerAway("Postgres", reason=_reason(error))
    if isinstance(error, NO_ANSWER):
        # The driver also raises an InterfaceError for an invalid argument, but that is not an
        # outage.
        return None if isinstance(error, ValueError) else ServerAway("Postgres", reason=_reason(error))
    if isinstance(error, asyncpg.PostgresError) and meaning(error) is Meaning.PASSING:
        reason = _missing_partition(error) if _misses_partition(error) else _reason(error)
        return ServerRefuses("Postgres", reason, sqlstate=error.sqlstate)
    return None


def was_never_sent(error: BaseException) -> bool:
    """True if the driver could not send the statement, so that it may be sent on another
    connection.
    """
    return isinstance(error, asyncpg.InternalClientError) and str(error).startswith(NEVER_SENT)


def lacks_connection(error: BaseException) -> bool:
    """True if an error occurred because Postgres had no connection left.

    It is also found if it was converted or wrapped since.
    """
    link: BaseException | None = error
    for _ in range(MAX_CHAIN):
        if link is None or getattr(link, "sqlstate", None) == TOO_MANY_CONNECTIONS:
            return link is not None
        link = link.__cause__ or link.__context__
    return False


def _says(error: BaseException | None, text: str) -> bool:
    return error is not None and error.args == (text,)


def _tls_reason(error: ssl.SSLError) -> str:
    """The reason of a TLS error, without the location in OpenSSL's source code."""
    return getattr(error, "verify_message", None) or (error.reason or str(error)).replace("_", " ").lower()


def _misses_partition(error: Any) -> bool:
    """True if a row could not be stored because its day has no partition.

    Postgres reports this as a check violation without the name of a constraint.
    """
    return error.sqlstate == CHECK_VIOLATION and not getattr(error, "constraint_name", None)


def _missing_partition(error: Any) -> str:
    """Describe which partition is missing.

    Its day comes from the id that Postgres quotes in the detail of the error.
    """
    found = _UUID.search(getattr(error, "detail", None) or "")
    table = getattr(error, "table_name", None)
    if not found or not table:
        return _reason(error)
    return partitions.missing(partitions.partition_name(table, partitions.day_of_id(UUID(found[0]))))


def _reason(error: BaseException) -> str:
    """The driver's message as one line. It is empty for a time-out, which has no message."""
    return " ".join(str(error).split())
