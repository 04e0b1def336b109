"""Limits the number, the waiting times and the memory of all connections of this process together.

The content of a request is checked elsewhere. This module only ensures that clients send and read
their bytes in time.
"""

import asyncio
import logging
import resource
import time
from typing import Protocol

from services.api.http.refusals import Refusal

log = logging.getLogger(__name__)

#: Maximum number of connections. Each takes about 20 kB, plus at most HEADER_BYTES while its
#: request's header is incomplete.
MAX_CONNECTIONS = 1_000
#: Maximum number of additional connections that carry an event stream or wait for the end of a
#: task.
MAX_STREAMS, MAX_WAITING = 4_000, 2_000
#: Maximum memory in this process for bodies of requests and for answers that clients have not read
#: yet. A container has 512 MB.
MAX_HELD_BYTES = 64 * 2**20
HEADER_LIMIT_S = 10.0
SWEEP_EVERY_S = 1.0
#: How long further data is discarded after a refusal. Without this time, a TCP reset could reach
#: the client before the answer.
LINGER_S = 1.0
#: Number of file descriptors reserved for connections to Postgres and Redis, and for all other
#: files.
OTHER_FILES = 256


class HeaderTooSlow(Refusal):
    """The answer to a client whose request's header did not arrive in time."""

    status, kind = 408, "header-too-slow"

    def __init__(self) -> None:
        super().__init__(
            f"The header did not arrive within {HEADER_LIMIT_S:g} s. Send the request again, faster."
        )


class TooManyConnections(Refusal):
    """The answer on a connection that is closed because all connections are in use and this one has
    waited longer for its client than any other.
    """

    status, kind = 503, "too-many-connections"

    def __init__(self) -> None:
        super().__init__(
            f"More than {MAX_CONNECTIONS} connections are open. Send the same request again shortly, on "
            "fewer connections."
        )


class TooManyBytes(Refusal):
    """The answer to a client whose request is refused because the requests in progress use all the
    memory that bodies may take.
    """

    status, kind = 503, "too-many-bytes"

    def __init__(self) -> None:
        super().__init__(
            "Other requests use all the memory that is reserved for bodies. Send the same request again "
            "shortly, or in smaller parts."
        )


def reserve_files() -> None:
    """Raise the process's limit of open files so that each connection can have a file descriptor,
    as far as the system allows.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = MAX_CONNECTIONS + MAX_STREAMS + MAX_WAITING + OTHER_FILES
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < needed:
        log.warning(
            "this process may open only %d files, fewer than its connections need; allow %d (ulimit -n)",
            allowed,
            needed,
        )


class Connection(Protocol):
    """The attributes and methods of a connection that this module uses."""

    #: Bytes that the connection holds in memory, without its header.
    held: int
    #: True until the header of a request is complete. False while its body arrives or its answer is
    #: being read.
    reads_header: bool

    def refuse(self, refusal: Refusal, *, linger_s: float) -> None:
        """Answer with this error if no other answer has begun, then close the connection."""

    def cut(self) -> None:
        """Close the connection without an answer."""


class Connections:
    """All connections of one process. Use it only from the event loop that serves them."""

    def __init__(self, wait_limit_s: float) -> None:
        #: Time limit in seconds for receiving a body, and for a client to read an answer.
        self._wait_limit_s = wait_limit_s
        self._open: set[Connection] = set()
        #: Connections that wait for their client, with the time at which the wait began. The
        #: longest wait comes first.
        self._waiting: dict[Connection, float] = {}
        #: Idle connections, between two requests. The one that has been idle longest comes first.
        self._idle: dict[Connection, None] = {}
        self._held = 0
        self._sweeping: asyncio.TimerHandle | None = None

    @property
    def is_full(self) -> bool:
        return len(self._open) > MAX_CONNECTIONS

    def add(self, connection: Connection) -> None:
        """Add a new connection. If there are too many, refuse the connection that has waited
        longest for its client.
        """
        if len(self._open) >= MAX_CONNECTIONS:
            self._make_room()
        self._open.add(connection)
        self.wait_for(connection)

    def remove(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._waiting.pop(connection, None)
        self._idle.pop(connection, None)
        self.release(connection)

    def exempt(self, connection: Connection) -> None:
        """Do not count this connection until its answer is complete. Its request stays open on
        purpose and has a limit of its own.
        """
        self._open.discard(connection)

    def readmit(self, connection: Connection) -> bool:
        """Count the connection again after its answer. Returns False if there is no room; the
        connection must then be closed.
        """
        if len(self._open) >= MAX_CONNECTIONS:
            self._make_room()
        if len(self._open) >= MAX_CONNECTIONS:
            return False
        self._open.add(connection)
        return True

    def wait_for(self, connection: Connection) -> None:
        """Record that the connection waits for its client, which has to send more data or read its
        answer.
        """
        self._idle.pop(connection, None)
        self._waiting.setdefault(connection, time.monotonic())
        if self._sweeping is None:
            self._sweep_later()

    def work_for(self, connection: Connection) -> None:
        """Record that a request is complete and the application is handling it."""
        self._waiting.pop(connection, None)
        self._idle.pop(connection, None)

    def rest(self, connection: Connection) -> None:
        """Record that an answer is complete and no other request has begun."""
        self._waiting.pop(connection, None)
        if connection in self._open:
            self._idle[connection] = None

    def hold(self, connection: Connection, count: int) -> None:
        """Add to the bytes that the connection holds in memory. If the total exceeds the limit,
        refuse the connection with the most bytes.
        """
        connection.held += count
        self._held += count
        while self._held > MAX_HELD_BYTES and connection.held:
            greediest = max(self._waiting, key=lambda one: one.held, default=connection)
            if greediest.held < connection.held:
                greediest = connection
            greediest.refuse(TooManyBytes(), linger_s=LINGER_S)
            self.release(greediest)

    def release(self, connection: Connection, count: int | None = None) -> None:
        """Subtract from the bytes that the connection holds in memory: the given number, or all of
        them.
        """
        given_back = connection.held if count is None else min(count, connection.held)
        self._held -= given_back
        connection.held -= given_back

    def _make_room(self) -> None:
        """Refuse one connection to make room, preferably one that has never finished a request.
        Connections that stay open on purpose are not counted.
        """
        longest = next((each for each in self._waiting if each in self._open), None)
        if longest is not None:
            longest.refuse(TooManyConnections(), linger_s=0)
        elif self._idle:
            longest = next(iter(self._idle))
            longest.cut()
        else:
            return
        self.remove(longest)

    def _sweep_later(self) -> None:
        self._sweeping = asyncio.get_running_loop().call_later(SWEEP_EVERY_S, self._sweep)

    def _sweep(self) -> None:
        """Close connections whose wait has lasted too long. Runs as long as any connection waits
        for its client.
        """
        now, self._sweeping = time.monotonic(), None
        for connection, since in list(self._waiting.items()):
            if now - since < HEADER_LIMIT_S:
                break
            if connection.reads_header:
                connection.refuse(HeaderTooSlow(), linger_s=LINGER_S)
            elif now - since >= self._wait_limit_s:
                connection.cut()
        if self._waiting:
            self._sweep_later()
