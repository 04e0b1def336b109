"""Body of the task that carries out a bulk operation, in chunks and at the requested rate."""

import asyncio
from uuid import UUID

from services.worker.operations import chunk
from services.worker.operations.announcements import Announcements
from services.worker.operations.chunk import Chunk
from services.worker.registry import task
from shared.bulk.act import State
from shared.contracts.context import TaskContext
from shared.contracts.operations import BULK, BulkEnded, RunBulk
from shared.telemetry import metrics

#: Maximum pause in seconds while an operation waits because of its rate. After each pause, it
#: checks whether an operator has stopped it.
LOOK_S = 1.0


@task(BULK)
async def run_bulk(context: TaskContext, params: RunBulk) -> BulkEnded:
    """Carry out what is left of the bulk operation."""
    await context.gateway(Announcements).join(context.database)
    with metrics.BULK_RUNNING.track_inprogress():
        while True:
            context.raise_if_cancelled()
            did = await next_chunk(context, params.bulk_id)
            if did is None:
                return BulkEnded(state="gone", done=0, skipped=0, refused=0)
            if did.outcome is not None:
                fields = {"bulk_id": str(params.bulk_id)}
                context.log.info("the bulk operation is %s", did.outcome, extra=fields)
                return BulkEnded(state=did.outcome, **did.sums)
            await asyncio.sleep(min(did.wait_s, LOOK_S))


async def next_chunk(context: TaskContext, bulk_id: UUID) -> Chunk | None:
    """Carry out the next chunk in a transaction of its own, then announce its changes.

    Returns None if the bulk operation no longer exists.
    """
    async with context.transaction():
        did = await chunk.run(context.database, bulk_id)
    if did is not None:
        await context.gateway(Announcements).say(did.changed)
        for verdict, number in did.verdicts.items():
            metrics.BULK_ROWS.labels(did.action, verdict).inc(number)
        _show(context, did)
    return did


def _show(context: TaskContext, did: Chunk) -> None:
    processed = sum(did.sums.values())
    total = max(did.expected, processed, 1)
    message = ", ".join(f"{number} {verdict}" for verdict, number in did.sums.items())
    context.progress(total if did.outcome is State.COMPLETED else processed, total, message)
