"""Writes what a worker's tasks report to Postgres. No other part of the worker writes it.

The recorder works in rounds. Each round writes all records that are pending in the inbox; records
that arrive meanwhile are written by the next round. Tasks never wait for it. While Postgres is
unavailable, the same round is tried again; until it succeeds, no task is acknowledged and none is
claimed.
"""

import asyncio
import logging
import time

from services.worker.recording.inbox import Batch, Inbox, complete
from services.worker.recording.record import Written
from services.worker.recording.settlement import Settlement
from services.worker.recording.writer import Writer
from shared.telemetry import metrics

log = logging.getLogger(__name__)

#: Interval in seconds at which `flush` checks whether everything is written.
FLUSH_POLL_S = 0.01


class Recorder:
    """Passes each batch of records from the inbox to the writer, and then to the settlement for the
    follow-up steps.

    Use it only on the ledger event loop.
    """

    def __init__(self, inbox: Inbox, writer: Writer, settlement: Settlement) -> None:
        self._inbox = inbox
        self._writer = writer
        self._settlement = settlement
        self._busy = False

    async def run_once(self) -> None:
        """Wait for pending records and write them in one round."""
        if await self._inbox.wait():
            self._busy = True
            try:
                batch = self._inbox.take()
                if batch.entries:
                    await self._round(batch)
            finally:
                self._busy = False

    async def flush(self, timeout_s: float) -> bool:
        """Wait until all pending records are written and their follow-up steps are done.

        Returns False if that takes longer than `timeout_s`.
        """
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
        # The records are committed. Whatever fails from here on, the ended claims have to be settled
        # and the waiting threads have to continue.
        try:
            self._inbox.done(batch)
            _measure(batch)
        finally:
            await self._settle(batch, written)

    async def _settle(self, batch: Batch, written: Written) -> None:
        try:
            await self._settlement.settle(batch.entries, written)
        finally:
            for attempt, waiter in batch.waiters:
                complete(waiter, attempt in written)


def _measure(batch: Batch) -> None:
    metrics.RECORDER_BATCH_ROWS.observe(len(batch.entries))
    oldest = min(entry.noted_monotonic for entry in batch.entries)
    metrics.RECORDER_LAG_SECONDS.observe(time.monotonic() - oldest)
