"""Tells the worker that the task of a bulk operation was canceled."""

import contextlib
from collections.abc import Mapping
from typing import Any

from shared.errors import ServerUnavailable
from shared.transport.events import Changes, Publisher, TaskChange
from shared.transport.queues import Queues


async def announce(row: Mapping[str, Any] | None, queues: Queues, publisher: Publisher) -> None:
    """Announce the cancellation to event streams and workers.

    `row` is the value returned by `BulkActs.stop`. It is None if the task has already ended, and
    nothing is announced.
    """
    if row is None:
        return
    publisher.soon(lambda: Changes([TaskChange.from_row(row)]))
    # If this message is lost, the worker learns of the cancellation with its next heartbeat.
    with contextlib.suppress(ServerUnavailable):
        await queues.announce_cancel(row["id"])
