"""Tests of the service that pushes the ids of due tasks to Redis."""

from datetime import timedelta

from services.scheduler.dispatcher import Dispatcher
from services.scheduler.index_cursor import IndexCursor
from shared.backlog import BEGINNING
from tests.platform import Platform


async def test_the_cursor_starts_again_after_the_clock_of_postgres_was_set_back(platform: Platform) -> None:
    cursor = IndexCursor()
    service = Dispatcher(platform.database, platform.queues, cursor)
    # An earlier round has left the cursor here, and then the clock was set back by an hour.
    cursor.note_empty(platform.database.now() + timedelta(hours=1))
    assert await service.run_once(), "the next round follows immediately"
    assert cursor.after == BEGINNING
    assert not await service.run_once()
    assert BEGINNING < cursor.after < platform.database.now()
