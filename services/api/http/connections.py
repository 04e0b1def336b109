"""Bounds what all connections together may take from this process: their number, their time, their bytes.

What a request means is decided elsewhere; here a client only has to get its bytes over in time.
"""

import asyncio
import logging
import resource
import time
from typing import Protocol

from services.api.http.refusals import Refusal

log = logging.getLogger(__name__)

#: A connection costs about 20 kB, and at most HEADER_BYTES more while its header is incomplete.
MAX_CONNECTIONS = 1_000
#: Connections beside these that carry an event stream, or wait for the end of a task.
MAX_STREAMS, MAX_WAITING = 4_000, 2_000
#: Bytes of bodies, and of answers that clients do not take, in the whole process. A container has 512 MB.
MAX_HELD_BYTES = 64 * 2**20
HEADER_LIMIT_S = 10.0
SWEEP_EVERY_S = 1.0
#: After a refusal, what still arrives is thrown away for this long: a reset could overtake the answer.
LINGER_S = 1.0
#: File descriptors for connections to Postgres and Redis, and for all other files.
OTHER_FILES = 256


class HeaderTooSlow(Refusal):
    """The header did not arrive in time."""

    status, kind = 408, "header-too-slow"

    def __init__(self) -> None:
        super().__init__(
            f"The header did not arrive within {HEADER_LIMIT_S:g} s. Send the request again, faster."
        )


class TooManyConnections(Refusal):
    """All connections are in use, and this one waited longest for its client."""

    status, kind = 503, "too-many-connections"

    def __init__(self) -> None:
        super().__init__(
            f"More than {MAX_CONNECTIONS} connections are open. Send the same request again shortly, on "
            "fewer connections."
        )


class TooManyBytes(Refusal):
    """Requests under way hold all the memory that there is for bodies."""

    status, kind = 503, "too-many-bytes"

    def __init__(self) -> None:
        super().__init__(
            "The bodies of the requests under way take all memory that there is for them. Send the same "
            "request again shortly, or in smaller parts."
        )


def reserve_files() -> None:
    """Let this process have a file descriptor for each connection, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = MAX_CONNECTIONS + MAX_STREAMS + MAX_WAITING + OTHER_FILES
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < needed:
        log.warning("this process may open %d files only; let it have %d (ulimit -n)", allowed, needed)


class Connection(Protocol):
    """What is asked of a connection here."""

    #: Bytes that it keeps in memory, beside its header.
    held: int
    #: True until a header is complete, False while its body arrives or its answer is being taken.
    reads_header: bool

    def refuse(self, refusal: Refusal, *, linger_s: float) -> None:
        """Answer with this if that is possible, and close after a while."""

    def cut(self) -> None:
        """Close without an answer."""


class Connections:
    """All connections of one process. Used by its event loop only."""

    def __init__(self, wait_limit_s: float) -> None:
        #: How long a body may take, and an answer that its client does not read.
        self._wait_limit_s = wait_limit_s
        self._open: set[Connection] = set()
        #: Connections whose client has to act, and since when; the longest wait first.
        self._waiting: dict[Connection, float] = {}
        #: Connections between two requests; the longest pause first.
        self._idle: dict[Connection, None] = {}
        self._held = 0
        self._sweeping: asyncio.TimerHandle | None = None

    @property
    def is_full(self) -> bool:
        return len(self._open) > MAX_CONNECTIONS

    def add(self, connection: Connection) -> None:
        """Where there are too many, the one that waits longest for its client makes room."""
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
        """Its request waits on purpose, and is bounded elsewhere: until its answer it is not counted."""
        self._open.discard(connection)

    def readmit(self, connection: Connection) -> None:
        """The answer is complete."""
        self._open.add(connection)

    def wait_for(self, connection: Connection) -> None:
        """The client has to send more, or to read what it was sent."""
        self._idle.pop(connection, None)
        self._waiting.setdefault(connection, time.monotonic())
        if self._sweeping is None:
            self._sweep_later()

    def work_for(self, connection: Connection) -> None:
        """The request is complete: from here on its time is ours."""
        self._waiting.pop(connection, None)
        self._idle.pop(connection, None)

    def rest(self, connection: Connection) -> None:
        """The answer is complete, and no other request has begun."""
        self._waiting.pop(connection, None)
        if connection in self._open:
            self._idle[connection] = None

    def hold(self, connection: Connection, count: int) -> None:
        """Note bytes in memory. Beyond the limit, the client that makes us hold most is refused."""
        connection.held += count
        self._held += count
        while self._held > MAX_HELD_BYTES and connection.held:
            greediest = max(self._waiting, key=lambda one: one.held, default=connection)
            if greediest.held < connection.held:
                greediest = connection
            greediest.refuse(TooManyBytes(), linger_s=LINGER_S)
            self.release(greediest)

    def release(self, connection: Connection, count: int | None = None) -> None:
        """These bytes, or all that it holds, are no longer in memory."""
        given_back = connection.held if count is None else min(count, connection.held)
        self._held -= given_back
        connection.held -= given_back

    def _make_room(self) -> None:
        """Prefers connections that never finish a request to those that did."""
        if self._waiting:
            longest = next(iter(self._waiting))
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
        """End the waits that took too long. Goes on while any connection waits."""
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
