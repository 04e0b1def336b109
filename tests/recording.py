"""The part of a worker that records outcomes, for tests that simulate the rest of the worker."""

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
    """A worker's inbox, writer, settlement and recorder, connected as in the real process."""

    def __init__(self, worker: UUID, claims: Claims, database: Database, queues: Queues) -> None:
        self.inbox = Inbox(database)
        self.writer = Writer(worker, database, turned=lambda: None)
        self.settlement = Settlement(worker, claims, database, queues, Tally(database))
        self.recorder = Recorder(self.inbox, self.writer, self.settlement)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Run the recorder's background loop inside this context."""
        loop = asyncio.create_task(Keeper().keep("recorder", self.recorder.run_once))
        try:
            yield
        finally:
            loop.cancel()
            await asyncio.gather(loop, return_exceptions=True)

    async def flush(self, timeout_s: float) -> bool:
        """Wait until all records added before this call are written to Postgres and acknowledged in
        Redis.

        Returns False after the time-out.
        """
        return await self.recorder.flush(timeout_s)
