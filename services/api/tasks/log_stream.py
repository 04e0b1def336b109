"""A task's log lines and status as server-sent events, until it ends."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import msgspec
from litestar.response.sse import ServerSentEventMessage

from services.api.identity.callers import Stays
from services.api.identity.rights import Reader
from services.api.tasks import attempt_view
from services.api.tasks.ledger_view import LedgerView
from shared.errors import ServerUnavailable
from shared.ledger.database import Database
from shared.ledger.lifecycle import FINAL

EVERY_S = 1.0
#: Upper bound for the lines of one round; the next round sends the rest.
LINES = 500
SIGNED_OUT = "Your session, your account or your role has ended. Sign in, then open the stream again."


async def events(
    database: Database, task_id: UUID, reader: Reader, ledger: LedgerView, level: str, stays: Stays
) -> AsyncIterator[ServerSentEventMessage]:
    """Yield connected; then log and status each second; then completed. While a server is away: error.

    The stream ends with an error when the reader signs out, or loses the account or the role.
    """
    yield _event("connected", {"task_id": task_id})
    seen = (0, 0)
    while True:
        try:
            if not await stays():
                yield _event("error", {"message": SIGNED_OUT})
                return
            # The row first: lines that came before the end are then all there.
            row = await ledger.find(task_id, reader)
            lines, seen = await attempt_view.lines_after(database, task_id, seen, level=level, limit=LINES)
        except ServerUnavailable as error:
            yield _event("error", {"message": f"{error}; the stream goes on when it is back"})
            await asyncio.sleep(EVERY_S)
            continue
        for line in lines:
            yield _event("log", line)
        told = ledger.answer(row, reader)
        status = {
            "status": told.status,
            "progress_percentage": told.progress_percentage,
            "progress_message": told.progress_message,
        }
        if told.status in FINAL and len(lines) < LINES:
            yield _event("completed", status)
            return
        yield _event("status", status)
        if len(lines) < LINES:
            await asyncio.sleep(EVERY_S)


def _event(name: str, data: object) -> ServerSentEventMessage:
    return ServerSentEventMessage(data=msgspec.json.encode(data).decode(), event=name)
