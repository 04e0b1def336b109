"""The recording side of a worker, for tests that play one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from services.worker.claims.claims import Claims
from services.worker.recording.inbox import Inbox
from services.worker.recording.recorder import Recorder
from services.worker.recording.settlement import Settlement
from services.worker.recording.writer import Writer
from shared.keeper import Keeper
from shared.ledger.database import Database
from shared.ledger.tally import Tally
from shared.transport.queues import Queues


class Recording:
    """Inbox, writer, settlement and recorder, wired as in a worker process."""

    def __init__(self, worker: UUID, claims: Claims, database: Database, queues: Queues) -> None:
        self.inbox = Inbox(database)
        self.writer = Writer(worker, database, turned=lambda: None)
        self.settlement = Settlement(worker, claims, database, queues, Tally(database))
        self.recorder = Recorder(self.inbox, self.writer, self.settlement)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """The recorder's loop turns inside."""
        loop = asyncio.create_task(Keeper().keep("recorder", self.recorder.run_once))
        try:
            yield
        finally:
            loop.cancel()
            await asyncio.gather(loop, return_exceptions=True)

    async def flush(self, timeout_s: float) -> bool:
        """Wait until all that was noted before this call is written and settled."""
        return await self.recorder.flush(timeout_s)
