"""Opens connections to the primary Postgres server if DATABASE_URL names several hosts.

The hosts are tried one after the other, beginning with the last one that worked. A host that does
not answer, or is a standby, is tried last from then on. A silent host therefore costs its connect
time-out only once.
"""

import contextlib
import logging
import socket
import weakref
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import asyncpg

from shared.errors import ServerAway
from shared.ledger import address, session
from shared.ledger.session import Connection, Session
from shared.ledger.time_limit import STATEMENT_TIMEOUT_S, TASK_STATEMENT_TIMEOUT_S, timeout

log = logging.getLogger(__name__)

#: Connect time-out for each host in seconds, if there are several hosts. Two such time-outs fit
#: into the time limit of a statement.
HOST_TIMEOUT_S = 2.0
#: Keepalive settings of TCP, which detect after about 20 s that the machine of the server has
#: vanished. Probes begin after 10 s of silence and are repeated every 3 s. The limit of 20 s also
#: applies to data that is not acknowledged.
KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 3, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 20_000}

Host = tuple[str, int]


class NotThePrimary(Exception):
    """Raised when a server turns out to be a standby, which accepts no writes."""


class Connector:
    """Opens connections to the hosts of one DATABASE_URL, and knows which was the primary last."""

    def __init__(self, url: str) -> None:
        """Parse the DATABASE_URL without opening a connection. Raises BrokenRule."""
        self._target = address.parse(url)
        #: The hosts of the DATABASE_URL in the order in which they are tried.
        self.hosts = list(self._target.hosts)
        self._last: Host | None = None
        self._open: weakref.WeakSet[Connection] = weakref.WeakSet()
        #: Functions that are called when another host has become the primary. Their argument is the
        #: host that connections no longer use.
        self.when_left: list[Callable[[Host], None]] = [self.leave]
        several = len(self.hosts) > 1
        self._primary_only = several or self._target.primary_only
        longest = self._target.connect_timeout_s or STATEMENT_TIMEOUT_S
        self._limit_s = min(longest, HOST_TIMEOUT_S) if several else longest

    async def connect(self, wanted: Session) -> Connection:
        """Return a connection to the first host that works.

        If none works, raises the driver's error, or ServerAway.
        """
        errors: dict[Host, Exception] = {}
        for host in list(self.hosts):
            try:
                connection = await self._connect_to(host, wanted)
            except Exception as error:  # noqa: BLE001 - whatever one host says, another one may serve
                self._ask_last(host)
                errors[host] = error
            except BaseException:  # For example a cancellation because the caller's time is up
                self._ask_last(host)
                raise
            else:
                self._ask_first(host)
                return connection
        raise _combined(errors)

    async def _connect_to(self, host: Host, wanted: Session) -> Connection:
        target = self._target
        # The application name is also sent with the first packet, so that it appears in the
        # server's log of the connection. It must be set again later, because RESET ALL in a pooler
        # clears it.
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
                connection.host = host
                self._open.add(connection)
                connection.set_up = session.set_up({**target.settings, **wanted.settings, **name})
                await connection.execute(connection.set_up)
                if self._primary_only and await connection.fetchval("SELECT pg_is_in_recovery()"):
                    raise NotThePrimary("it is a standby")
            except BaseException:
                connection.terminate()
                raise
        return connection

    def leave(self, host: Host) -> None:
        """Cut every connection to a server that is no longer the primary. Can be called from any
        thread.

        A pending statement would otherwise wait until its time limit, which is a minute for the
        statements of task bodies.
        """
        for connection in list(self._open):
            if connection.host == host:
                # RuntimeError means that the event loop of the connection has ended
                with contextlib.suppress(RuntimeError):
                    connection._loop.call_soon_threadsafe(connection.terminate)

    def _ask_first(self, host: Host) -> None:
        self.hosts.remove(host)
        self.hosts.insert(0, host)
        if self._last is not None and self._last != host:
            log.warning(
                "Postgres: connected to %s:%d from now on, no longer to %s:%d",
                *host,
                *self._last,
            )
            for call in self.when_left:
                call(self._last)
        self._last = host

    def _ask_last(self, host: Host) -> None:
        self.hosts.remove(host)
        self.hosts.append(host)


def _notice_loss(connection: Any) -> None:
    """Make the kernel end the connection if the machine of the server has vanished."""
    sock = connection._transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        # Not every operating system has all of these socket options
        if (option := getattr(socket, name, None)) is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _combined(errors: dict[Host, Exception]) -> Exception:
    """Return the most informative error of several hosts.

    This is an error that a server sent, or else a summary of what happened at each host.
    """
    for error in errors.values():
        if len(errors) == 1 or isinstance(error, asyncpg.PostgresError):
            return error
    reasons = (f"{host}:{port}: {_reason(error)}" for (host, port), error in errors.items())
    return ServerAway("Postgres", reason="; ".join(reasons))


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or f"no answer within {HOST_TIMEOUT_S:g} s"
