"""One connection of a client: uvicorn's protocol class, with limits on what the client may send
before its request is handled.

The HTTP parser itself has no limits. The module `connections` has the limits that all connections
share.
"""

import asyncio
from functools import partial
from typing import Any, cast

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from services.api.http import errors, security_headers
from services.api.http.connections import LINGER_S, Connections, TooManyConnections
from services.api.http.refusals import Refusal

#: Maximum size in bytes of a request's header. nginx allows four times 8 kB, and the load balancers
#: of AWS 64 kB.
HEADER_BYTES = 65_536
#: Maximum number of header fields, as in Apache. In memory, a field takes far more than its bytes.
MAX_HEADERS = 100
#: Key in the ASGI scope of a function. Handlers call it if their answer stays open on purpose, such
#: as an event stream.
STAYS_OPEN = "often.stays_open"
#: Maximum number of requests that a client may send before it receives their answers (HTTP
#: pipelining).
MAX_PIPELINED = 16
#: Received data is fed to the parser in pieces of this size, so that no piece exceeds a limit by
#: much.
PIECE_BYTES = 16_384
#: Maximum number of bytes that are read and discarded after a request was refused, so that the
#: client can still read the answer.
MAX_THROWN_AWAY = 4 * 2**20


class HeaderTooLarge(Refusal):
    """The answer to a client whose request has a header with too many bytes or too many fields."""

    status, kind = 431, "header-too-large"

    def __init__(self) -> None:
        super().__init__(
            f"The address and the header fields have more than {HEADER_BYTES} bytes or {MAX_HEADERS} fields. "
            "Send less of them; put data into the body."
        )


class Connection(HttpToolsProtocol):
    """One connection. It refuses requests that must not reach the application."""

    # Slots save memory. A dictionary of attributes, shared with uvicorn's base class, would take
    # 1.5 kB more per open event stream.
    __slots__ = (
        "_connections",
        "_receives",
        "_refused",
        "_stays_open",
        "_thrown_away",
        "_unparsed",
        "_unsent",
        "_went_on",
        "held",
        "reads_header",
    )

    def __init__(self, connections: Connections, **given: Any) -> None:
        super().__init__(**given)
        self.headers = []  # uvicorn sets this only when data arrives
        self.held = 0
        self.reads_header = True
        self._connections = connections
        #: Bytes received since the end of the header or since the last part of the body.
        self._unparsed = 0
        self._went_on = False
        #: True if the next bytes must come from the client: its request has begun or is expected,
        #: and is not complete.
        self._receives = True
        self._refused = False
        self._stays_open = False
        self._unsent = 0
        self._thrown_away = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._refused = True
        self._connections.remove(self)

    def data_received(self, data: bytes) -> None:
        """Parse received data, in pieces if it is large."""
        if len(data) <= PIECE_BYTES:
            self._feed(data)
            return
        for start in range(0, len(data), PIECE_BYTES):
            self._feed(data[start : start + PIECE_BYTES])

    def _feed(self, piece: bytes) -> None:
        if self._refused:
            self._throw_away(piece)
        elif not self.transport.is_closing():
            self._parse(piece)

    def _throw_away(self, piece: bytes) -> None:
        self._thrown_away += len(piece)
        if self._thrown_away > MAX_THROWN_AWAY:
            self.transport.abort()

    def _parse(self, piece: bytes) -> None:
        self._went_on = False
        super().data_received(piece)
        self._unparsed = 0 if self._went_on else self._unparsed + len(piece)
        # This limit also covers trailer fields, which follow a chunked body.
        if self._unparsed >= HEADER_BYTES or len(self.headers) > MAX_HEADERS:
            self.refuse(HeaderTooLarge())
        self._settle()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.reads_header = self._receives = True

    def on_headers_complete(self) -> None:
        self._went_on = True
        if self._refused:
            return
        if len(self.headers) > MAX_HEADERS:
            self.refuse(HeaderTooLarge())
        elif len(self.pipeline) >= MAX_PIPELINED:
            self.cut()
        elif self._connections.is_full:
            self.refuse(TooManyConnections())
        else:
            self.reads_header = False
            super().on_headers_complete()
            self.scope[STAYS_OPEN] = self._stay_open  # type: ignore[literal-required]

    def on_body(self, body: bytes) -> None:
        self._went_on = True
        if self._refused or self.cycle.response_complete:
            return
        self._connections.hold(self, len(body))
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._went_on, self._receives = True, False
        if self._refused:
            return
        super().on_message_complete()
        if self.cycle.response_complete:
            self._expect_another()

    def on_response_complete(self) -> None:
        is_last = not self.pipeline
        if self._stays_open and not self._refused and not self._connections.readmit(self):
            self.transport.close()  # Closes only after data that was written before has been sent
        self._stays_open = False
        super().on_response_complete()
        if is_last:
            self._connections.release(self)
            self._note_unsent()
        self._settle()

    def pause_writing(self) -> None:
        """Note that the client reads more slowly than the server answers, so that nothing more is
        written for a while.
        """
        super().pause_writing()
        self._settle()
        self._note_unsent()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._note_unsent()
        self._settle()

    def _stay_open(self) -> None:
        """Note that this request stays open on purpose. It has a limit of its own and does not
        count toward the shared limits.
        """
        self._stays_open = True
        self._connections.exempt(self)

    def _settle(self) -> None:
        """Record whether this connection waits for the client, for this process, or for neither."""
        if self._refused:
            return
        if self._receives or self.flow.write_paused:
            self._connections.wait_for(self)
        elif self.cycle.response_complete:
            self._connections.rest(self)
        else:
            self._connections.work_for(self)

    def _note_unsent(self) -> None:
        """Count the bytes of the answer that the client has not read yet. Nothing more is written
        until the client has read most of them.
        """
        self._connections.release(self, self._unsent)
        self._unsent = self.transport.get_write_buffer_size() if self.flow.write_paused else 0
        if self._unsent:
            self._connections.hold(self, self._unsent)

    def _expect_another(self) -> None:
        """Restart the keep-alive timer. The answer was sent before the end of the request's body,
        which stopped uvicorn's own timer.
        """
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def refuse(self, refusal: Refusal, *, linger_s: float = LINGER_S) -> None:
        """Answer with the refusal and close the connection. If another answer has begun, only close
        it.
        """
        if not self._may_answer():
            self.cut()
        elif not self._refused:
            self._leave()
            self.transport.write(_answer(refusal, self.server_state.default_headers))
            self.flow.resume_reading()
            if linger_s:
                self.loop.call_later(linger_s, self.transport.abort)
            else:
                self.transport.close()

    def cut(self) -> None:
        self._leave()
        self.transport.abort()

    def _may_answer(self) -> bool:
        if self._refused or self.pipeline:
            return False
        cycle = self._under_way()
        return self.reads_header if cycle is None else not (self.reads_header or cycle.response_started)

    def _leave(self) -> None:
        """Stop parsing, and discard what the application still answers."""
        self._refused = True
        self._unset_keepalive_if_required()
        if cycle := self._under_way():
            cycle.disconnected = True
            cycle.message_event.set()

    def _under_way(self) -> RequestResponseCycle | None:
        """The newest request, or None if it has been answered."""
        cycle: RequestResponseCycle | None = self.cycle  # It is None before the first request
        return None if cycle is None or cycle.response_complete else cycle


def protocol(connections: Connections) -> type[asyncio.Protocol]:
    """Return the factory that uvicorn calls for each new connection."""
    return cast("type[asyncio.Protocol]", partial(Connection, connections))


def _answer(refusal: Refusal, default_headers: list[tuple[bytes, bytes]]) -> bytes:
    body = msgspec.json.encode(errors.describe(refusal))
    headers = {
        "Content-Type": errors.MEDIA_TYPE,
        "Content-Length": str(len(body)),
        "Connection": "close",
        **security_headers.HEADERS,
        **errors.HEADERS.get(refusal.status, {}),
    }
    lines = [*default_headers, *((name.encode(), value.encode()) for name, value in headers.items())]
    return b"".join([STATUS_LINE[refusal.status], *(b"%b: %b\r\n" % line for line in lines), b"\r\n", body])
