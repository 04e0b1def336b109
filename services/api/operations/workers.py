"""Lists workers with their running tasks, and asks workers to take no new tasks or to stop."""

from collections import defaultdict
from collections.abc import Mapping
from enum import StrEnum
from typing import Any
from uuid import UUID

from services.api import after_commit
from services.api.audit import trail
from services.api.audit.actions import Action
from services.api.audit.trail import Target
from services.api.http import paging
from services.api.identity.rights import Reader
from services.api.operations.refusals import WorkerEnding, WorkerGone, WorkerNotFound
from services.api.operations.schemas import RunningTask, WorkerAnswer, WorkerPage
from services.api.reads import Reads
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.transport import control
from shared.transport.control import LookUp
from shared.transport.queues import Queues

WORKERS = Statement("""
    SELECT id, hostname, pid, release, asked, queues, threads, memory_bytes, started_at, heartbeat_at,
           coalesce(dead_at, stopped_at) AS ended_at,
           CASE WHEN dead_at IS NOT NULL THEN 'dead' WHEN stopped_at IS NOT NULL THEN 'stopped'
                ELSE state END AS state
    FROM worker WHERE id > :after AND (:dead OR (dead_at IS NULL AND stopped_at IS NULL))
    ORDER BY id LIMIT :limit
""")
HELD = Statement("""
    SELECT holder, count(*)::int AS held FROM task WHERE holder = ANY(:workers::uuid[]) GROUP BY holder
""")
RUNNING = Statement("""
    SELECT holder, id AS task_id, name AS task_name, queue, attempt, started_at,
           extract(epoch FROM clock_timestamp() - started_at)::float8 AS running_s,
           progress_current, progress_total, progress_message
    FROM task WHERE holder = ANY(:workers::uuid[]) AND status = 'started' ORDER BY started_at
""")

#: Stores an operator's request to a worker. Returns no row if the worker has stopped, or if it is
#: already stopping and is now asked to keep running.
ASK = Statement("""
    UPDATE worker SET asked = :asked
    WHERE id = :id AND dead_at IS NULL AND stopped_at IS NULL
      AND (asked IS NULL OR asked = 'quiet' OR asked = :asked)
    RETURNING hostname, pid, queues, old.asked AS formerly
""")
FIND = Statement("""
    SELECT asked, coalesce(dead_at, stopped_at) IS NOT NULL AS is_gone FROM worker WHERE id = :id
""")


class Asked(StrEnum):
    """The requests that an operator can make to a worker."""

    #: The worker fetches no new tasks, but its process keeps running.
    QUIET = "quiet"
    #: The worker finishes its running tasks, then stops for good.
    DRAIN = "drain"
    #: The worker finishes its running tasks, then starts again under a new id.
    RECYCLE = "recycle"


ACTIONS: Mapping[Asked, Action] = {
    Asked.QUIET: Action.WORKER_QUIETED,
    Asked.DRAIN: Action.WORKER_DRAINED,
    Asked.RECYCLE: Action.WORKER_RECYCLED,
}


class Workers:
    """Lists workers and sends them requests, for the routes of the API and the pages of the
    console.
    """

    def __init__(self, database: Database, reads: Reads, queues: Queues) -> None:
        self._database = database
        self._reads = reads
        self._queues = queues

    async def page(self, *, dead: bool, limit: int, cursor: str | None) -> WorkerPage:
        """A page of workers, sorted by id. Ids are random, so the order has no meaning. Raises
        ReadTooSlow.
        """
        after = UUID(bytes=paging.decode(cursor, 16)) if cursor is not None else UUID(int=0)
        rows = await self._reads.probe(WORKERS, after=after, dead=dead, limit=limit + 1)
        shown = rows[:limit]
        ids = [row["id"] for row in shown]
        held = {row["holder"]: row["held"] for row in await self._reads.probe(HELD, workers=ids)}
        running = defaultdict(list)
        for row in await self._reads.probe(RUNNING, workers=ids):
            running[row.pop("holder")].append(RunningTask(**row))
        items = [_answer(row, held.get(row["id"], 0), running[row["id"]]) for row in shown]
        return WorkerPage(items, paging.encode(shown[-1]["id"].bytes) if len(rows) > limit else None)

    async def ask(self, worker_id: UUID, asked: Asked, reason: str | None, reader: Reader) -> None:
        """Store an operator's request to a worker. Raises WorkerNotFound, WorkerGone or
        WorkerEnding.
        """
        async with self._database.short_transaction():
            rows = await self._database.run(ASK, id=worker_id, asked=asked)
            if not rows:
                await self._refuse(worker_id)
            before = {"asked": rows[0].pop("formerly")}
            await trail.record(
                self._database,
                reader.describe(),
                ACTIONS[asked],
                Target("worker", worker_id),
                before=before,
                after={"asked": asked, **rows[0]},
                reason=reason,
            )
        late = "the worker learns of the request with its next heartbeat"
        await after_commit.given(control.announce(self._queues, LookUp()), late, worker_id=worker_id)

    async def _refuse(self, worker_id: UUID) -> None:
        found = await self._database.run(FIND, id=worker_id)
        if not found:
            raise WorkerNotFound(worker_id)
        if found[0]["is_gone"]:
            raise WorkerGone(worker_id)
        raise WorkerEnding(worker_id, found[0]["asked"])


def _answer(row: Mapping[str, Any], held: int, running: list[RunningTask]) -> WorkerAnswer:
    return WorkerAnswer(**row, held=held, threads_busy=len(running), running=running)
