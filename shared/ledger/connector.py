"""Opens connections to the primary, wherever it is.

Several hosts are asked in turn, the last good one first. A host that is silent, or whose server is a standby,
is asked last from then on, so that one silent host costs its time limit once.
"""

import logging
import socket
from typing import Any
from urllib.parse import urlencode

import asyncpg

from shared.errors import ServerAway
from shared.ledger import address, session
from shared.ledger.session import Connection, Session
from shared.ledger.time_limit import STATEMENT_TIMEOUT_S, TASK_STATEMENT_TIMEOUT_S, timeout

log = logging.getLogger(__name__)

#: How long to wait for one of several hosts; two of them fit into the time limit of a statement.
HOST_TIMEOUT_S = 2.0
#: The machine of a server is gone when it has not answered for about 20 s: asked after 10 s of silence,
#: every 3 s; the same for what was sent and is not acknowledged.
KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 3, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 20_000}

Host = tuple[str, int]


class NotThePrimary(Exception):
    """The server is a standby: it takes no writes."""


class Connector:
    """Knows the hosts of one DATABASE_URL, and which of them was the primary last."""

    def __init__(self, url: str) -> None:
        """Connects to nothing yet. Raises BrokenRule."""
        self._target = address.parse(url)
        #: In the order in which they are asked.
        self.hosts = list(self._target.hosts)
        self._last: Host | None = None
        several = len(self.hosts) > 1
        self._primary_only = several or self._target.primary_only
        longest = self._target.connect_timeout_s or STATEMENT_TIMEOUT_S
        self._limit_s = min(longest, HOST_TIMEOUT_S) if several else longest

    async def connect(self, wanted: Session) -> Connection:
        """A connection to the first host that serves. Raises the driver's error, or ServerAway."""
        errors: dict[Host, Exception] = {}
        for host in list(self.hosts):
            try:
                connection = await self._connect_to(host, wanted)
            except Exception as error:  # noqa: BLE001 - whatever one host says, another one may serve
                self._ask_last(host)
                errors[host] = error
            except BaseException:  # the caller's time is up
                self._ask_last(host)
                raise
            else:
                self._ask_first(host)
                return connection
        raise _combined(errors)

    async def _connect_to(self, host: Host, wanted: Session) -> Connection:
        target = self._target
        # From the first packet on, for the log of the server; a pooler forgets it with RESET ALL.
        name = {"application_name": f"{target.application}-{wanted.part}"}
        async with timeout(self._limit_s):
            connection: Connection = await asyncpg.connect(
                f"postgres://?{urlencode(target.tls)}" if target.tls else None,
                host=host[0],
                port=host[1],
                user=target.user,
                password=target.password,
                database=target.database,
                timeout=TASK_STATEMENT_TIMEOUT_S,
                command_timeout=wanted.command_timeout_s,
                connection_class=wanted.kind,
                server_settings=name,
            )
            try:
                _notice_loss(connection)
                connection.set_up = session.set_up({**target.settings, **wanted.settings, **name})
                await connection.execute(connection.set_up)
                if self._primary_only and await connection.fetchval("SELECT pg_is_in_recovery()"):
                    raise NotThePrimary("it is a standby")
            except BaseException:
                connection.terminate()
                raise
        return connection

    def _ask_first(self, host: Host) -> None:
        self.hosts.remove(host)
        self.hosts.insert(0, host)
        if self._last is not None and self._last != host:
            log.warning("Postgres: connected to %s:%d from now on, not to %s:%d", *host, *self._last)
        self._last = host

    def _ask_last(self, host: Host) -> None:
        self.hosts.remove(host)
        self.hosts.append(host)


def _notice_loss(connection: Any) -> None:
    """Let the kernel end the connection when the other machine has vanished."""
    sock = connection._transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if (option := getattr(socket, name, None)) is not None:  # not every system has all of them
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _combined(errors: dict[Host, Exception]) -> Exception:
    """The error that says most: what a server answered, or else what each host did."""
    for error in errors.values():
        if len(errors) == 1 or isinstance(error, asyncpg.PostgresError):
            return error
    reasons = (f"{host}:{port}: {_reason(error)}" for (host, port), error in errors.items())
    return ServerAway("Postgres", reason="; ".join(reasons))


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or f"no answer within {HOST_TIMEOUT_S:g} s"
