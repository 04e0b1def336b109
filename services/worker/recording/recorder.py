"""The one writer of a worker process: round after round, what the inbox holds goes into the ledger.

Tasks never wait for it. Whatever accumulates while a round is under way is the next round. While Postgres is
unavailable the round is tried again; nothing is acknowledged and nothing new is claimed meanwhile.
"""

import asyncio
import logging
import time

from services.worker.recording.inbox import Batch, Inbox
from services.worker.recording.settlement import Settlement
from services.worker.recording.writer import Writer
from shared.telemetry import metrics

log = logging.getLogger(__name__)

#: Interval at which `flush` looks whether everything is written.
FLUSH_POLL_S = 0.01


class Recorder:
    """Moves batches from the inbox through the writer to the settlement. Runs on the ledger loop."""

    def __init__(self, inbox: Inbox, writer: Writer, settlement: Settlement) -> None:
        self._inbox = inbox
        self._writer = writer
        self._settlement = settlement
        self._busy = False

    async def run_once(self) -> None:
        """Wait for records and write one round of them."""
        if await self._inbox.wait():
            self._busy = True
            try:
                await self._round(self._inbox.take())
            finally:
                self._busy = False

    async def flush(self, timeout_s: float) -> bool:
        """Wait until all that has been noted is written and settled; False when that took longer."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._busy or not self._inbox.empty:
                    self._inbox.wake()
                    await asyncio.sleep(FLUSH_POLL_S)
        except TimeoutError:
            return False
        return True

    async def _round(self, batch: Batch) -> None:
        with metrics.RECORDER_ROUND_SECONDS.time():
            written = await self._writer.write(batch.entries)
        self._inbox.done(batch)
        metrics.RECORDER_BATCH_ROWS.observe(len(batch.entries))
        oldest = min(entry.noted_monotonic for entry in batch.entries)
        metrics.RECORDER_LAG_SECONDS.observe(time.monotonic() - oldest)
        try:
            await self._settlement.settle(batch.entries, written)
        finally:
            for attempt, waiter in batch.waiters:
                waiter.set_result(attempt in written)
