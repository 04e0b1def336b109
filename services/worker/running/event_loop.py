"""The loop on which async bodies run, with the database pool that their queries use."""

from typing import Any

from dramatiq.asyncio import get_event_loop_thread
from dramatiq.broker import Broker
from dramatiq.middleware import AsyncIO

from shared.ledger.database import Database


class EventLoop(AsyncIO):
    """Dramatiq's loop thread plus a pool that belongs to it."""

    def __init__(self, database: Database, *, pool_size: int) -> None:
        super().__init__()
        self._database = database
        self._pool_size = pool_size

    def before_worker_boot(self, broker: Broker, worker: Any) -> None:
        super().before_worker_boot(broker, worker)  # type: ignore[no-untyped-call] # Dramatiq leaves it untyped
        thread = get_event_loop_thread()
        assert thread is not None
        thread.run_coroutine(self._database.open(size=self._pool_size))

    def after_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        thread = get_event_loop_thread()
        assert thread is not None
        thread.run_coroutine(self._database.close())
        super().after_worker_shutdown(broker, worker)  # type: ignore[no-untyped-call] # as above
