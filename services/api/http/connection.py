"""One connection of a client: uvicorn's protocol with limits on what may be sent before it is judged.

The parser itself has no limits. `connections` holds those that all connections share.
"""

import asyncio
from functools import partial
from typing import Any, cast

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from services.api.http import errors, security_headers
from services.api.http.connections import LINGER_S, Connections, TooManyConnections
from services.api.http.refusals import Refusal

#: nginx allows four times 8 kB, AWS' load balancers 64 kB.
HEADER_BYTES = 65_536
#: As Apache. Each costs far more memory than its bytes.
MAX_HEADERS = 100
#: Key of the scope: a function to be called for an answer that stays open.
STAYS_OPEN = "often.stays_open"
#: Requests that a client may send ahead of the answers.
MAX_PIPELINED = 16
#: The parser is fed pieces of this size, so that no piece holds much that is beyond a limit.
PIECE_BYTES = 16_384
#: At most this much is read after a refusal, so that the client gets to reading the answer.
MAX_THROWN_AWAY = 4 * 2**20


class HeaderTooLarge(Refusal):
    """The header has too many bytes or too many fields."""

    status, kind = 431, "header-too-large"

    def __init__(self) -> None:
        super().__init__(
            f"The address and the header fields have more than {HEADER_BYTES} bytes or {MAX_HEADERS} fields. "
            "Send less of them; put data into the body."
        )


class Connection(HttpToolsProtocol):
    """Refuses by itself what must not reach the application."""

    def __init__(self, connections: Connections, **given: Any) -> None:
        super().__init__(**given)
        self.headers = []  # by itself uvicorn has none before the first byte
        self.held = 0
        self.reads_header = True
        self._connections = connections
        #: Bytes since the last one that brought the request forward: a header's end or part of a body.
        self._unparsed = 0
        self._went_on = False
        #: A request has begun, or is to begin, and is not complete.
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
        """In pieces, where there is much."""
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
        # Fields after a body count as well.
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
        super().on_response_complete()
        if self._stays_open and not self._refused:
            self._connections.readmit(self)
        self._stays_open = False
        if is_last:
            self._connections.release(self)
            self._note_unsent()
        self._settle()

    def pause_writing(self) -> None:
        """The client reads more slowly than we answer."""
        super().pause_writing()
        self._settle()
        self._note_unsent()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._note_unsent()
        self._settle()

    def _stay_open(self) -> None:
        """This request waits on purpose: it has a limit of its own, and takes no other request's place."""
        self._stays_open = True
        self._connections.exempt(self)

    def _settle(self) -> None:
        """Note who has to act next: the client, this process, or neither."""
        if self._refused:
            return
        if self._receives or self.flow.write_paused:
            self._connections.wait_for(self)
        elif self.cycle.response_complete:
            self._connections.rest(self)
        else:
            self._connections.work_for(self)

    def _note_unsent(self) -> None:
        """Count what the client does not take. Nothing more is written until it has taken most of it."""
        self._connections.release(self, self._unsent)
        self._unsent = self.transport.get_write_buffer_size() if self.flow.write_paused else 0
        if self._unsent:
            self._connections.hold(self, self._unsent)

    def _expect_another(self) -> None:
        """The answer came before the end of the body, which has stopped uvicorn's timer."""
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def refuse(self, refusal: Refusal, *, linger_s: float = LINGER_S) -> None:
        """Answer instead of the application, where no other answer is under way, and close."""
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
        """From here on nothing is parsed, and what the application answers is thrown away."""
        self._refused = True
        self._unset_keepalive_if_required()
        if cycle := self._under_way():
            cycle.disconnected = True
            cycle.message_event.set()

    def _under_way(self) -> RequestResponseCycle | None:
        """The newest request, unless it is answered."""
        cycle: RequestResponseCycle | None = self.cycle  # None before the first one
        return None if cycle is None or cycle.response_complete else cycle


def protocol(connections: Connections) -> type[asyncio.Protocol]:
    """What uvicorn calls for each new connection."""
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
