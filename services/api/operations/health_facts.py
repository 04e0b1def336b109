"""Reads the facts from which `wrong_now` derives the problems of the system, with cheap queries to
Postgres and Redis.

Every statement reads a bounded number of rows or a small table. If a query is not answered in time,
its fact is listed as unknown, and the other facts are still used.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from services.api.fresh import Fresh
from services.api.operations.queues import QueueControls
from services.api.operations.schemas import QueueAnswer
from services.api.reads import Reads, ReadTooSlow
from shared import probes
from shared.errors import ServerUnavailable
from shared.ledger import partitions
from shared.ledger.database import Database
from shared.ledger.error_groups import STATE_NOW
from shared.ledger.lifecycle import ErrorKind
from shared.ledger.statement import Statement
from shared.schedules import firing_record
from shared.schedules.firing_record import Record
from shared.transport.queues import Queues

log = logging.getLogger(__name__)

#: Time limits in seconds of one statement and of all statements together. The statements run one
#: after another on one connection.
LIMIT_S, BUDGET_S = 0.4, 2.0
#: Maximum age in seconds of the counts of ended tasks. They come from thousands of rows.
KINDS_S = 10.0
#: The time spans within which failed tasks are counted: minutes for all kinds of tasks, and hours
#: for kinds that run rarely.
RECENT_MIN, RARE_H = 15, 6
#: Number of hours for which an error group counts as new.
NEW_H = 1
#: Maximum number of error groups, and of bulk operations, that a health check reads.
SEEN_LAST = 1_000
#: Maximum number of waiting tasks, and of recent failures, that a health check reads.
BOUND = 10_000

Row = Mapping[str, Any]

#: Counts client connections of Postgres. See `shared.ledger.connections` for the columns that are
#: hidden from other database roles.
POSTGRES = Statement("""
    SELECT count(*)::int AS connections, current_setting('max_connections')::int AS connections_limit,
           coalesce(extract(epoch FROM clock_timestamp() - min(xact_start)), 0)::float8
               AS oldest_transaction_s,
           pg_database_size(current_database()) AS size_bytes
    FROM pg_stat_activity
    WHERE datid IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend'
      AND pid <> pg_backend_pid()
""")
#: Seconds since the last leader's lease expired. Negative while there is a leader.
LEADER = Statement("""
    SELECT extract(epoch FROM clock_timestamp() - expires_at)::float8 AS expired_s
    FROM leader_lease WHERE name = 'scheduler'
""")
#: Reads living workers with the time since their last heartbeat, and workers that were declared
#: dead within the last minutes.
WORKERS = Statement("""
    SELECT id, hostname, pid, queues, dead_at,
           extract(epoch FROM clock_timestamp() - heartbeat_at)::float8 AS silent_s
    FROM worker
    WHERE (dead_at IS NULL AND stopped_at IS NULL) OR dead_at > now() - make_interval(mins => :minutes)
    ORDER BY heartbeat_at LIMIT :bound
""")
#: Counts tasks that ended within the last minutes and within the last hours, for each kind of task.
KINDS = Statement("""
    SELECT queue, name,
           coalesce(sum(n) FILTER (WHERE outcome = 'success' AND is_recent), 0)::bigint AS success,
           coalesce(sum(n) FILTER (WHERE outcome = 'failure' AND is_recent), 0)::bigint AS failure,
           coalesce(sum(n) FILTER (WHERE outcome = 'success'), 0)::bigint AS success_rare,
           coalesce(sum(n) FILTER (WHERE outcome = 'failure'), 0)::bigint AS failure_rare
    FROM (
        SELECT queue, name, outcome, n, minute > now() - make_interval(mins => :minutes) AS is_recent
        FROM task_minute WHERE minute > now() - make_interval(hours => :hours)
    ) AS m GROUP BY queue, name ORDER BY queue, name
""")
OVERDUE = Statement("""
    SELECT name, extract(epoch FROM clock_timestamp() - next_fire_time)::float8 AS overdue_s
    FROM schedule WHERE next_fire_time < now()
""")
#: Reads tasks that wait because no worker knows their name or version, with that reason.
PARKED = Statement("""
    SELECT name, queue, count(*)::int AS n, min(wait_reason) AS reason FROM (
        SELECT name, queue, wait_reason FROM task WHERE send_at > now() ORDER BY send_at LIMIT :bound
    ) AS t WHERE wait_reason IS NOT NULL GROUP BY name, queue ORDER BY name, queue
""")
#: Reads crash loops among the newest failures: tasks that failed because they crashed their worker
#: several times.
CRASH_LOOPS = Statement("""
    SELECT t.name, count(*)::int AS n, max(f.failed_at) AS last_at FROM (
        SELECT task_id, failed_at FROM task_failure ORDER BY task_id DESC LIMIT :bound
    ) AS f JOIN task AS t ON t.id = f.task_id
    WHERE f.failed_at > now() - make_interval(hours => :hours) AND t.error_kind = :crash_loop
    GROUP BY t.name ORDER BY t.name
""")
#: Reads how long the oldest workflow event has waited to be applied.
WORKFLOW_EVENT = Statement("""
    SELECT extract(epoch FROM clock_timestamp() - created_at)::float8 AS waited_s
    FROM workflow_event ORDER BY id LIMIT 1
""")
#: Reads error groups that came back after they were resolved, and new ones that no operator has
#: acknowledged. Only the groups whose errors occurred last are considered.
ERRORS = Statement(f"""
    SELECT fingerprint, name, coalesce(type, kind) AS type, place, state, first_at, last_at FROM (
        SELECT fingerprint, name, type, kind, place, {STATE_NOW} AS state, first_at, last_at
        FROM error_group AS g ORDER BY last_at DESC, fingerprint DESC LIMIT :bound
    ) AS g WHERE state = 'regressed' OR (state = 'open' AND first_at > now() - make_interval(hours => :hours))
    ORDER BY last_at DESC, fingerprint DESC
""")
#: Reads the bulk operations in progress, among the newest ones. `not_before` increases with each
#: chunk, so an old value shows that the operation is stuck.
BULK_ACTS = Statement("""
    SELECT b.id, b.action, b.not_before,
           extract(epoch FROM clock_timestamp() - b.not_before)::float8 AS idle_s
    FROM (SELECT * FROM bulk_act ORDER BY id DESC LIMIT :bound) AS b JOIN task AS t ON t.id = b.task
    WHERE b.ended_at IS NULL AND t.status IN ('pending', 'started', 'retry') ORDER BY b.id
""")


@dataclass(slots=True)
class Facts:
    """The facts that a health check has read. A fact that could not be read is None or empty, and
    its name is in `unknown`.
    """

    at: datetime
    #: The state of Postgres and of Redis: `ok` or a description of the problem.
    servers: Mapping[str, str]
    postgres: Row | None = None
    #: Memory of Redis in use, its memory limit (0 if there is none), and the number of its clients.
    redis: Row | None = None
    #: Seconds since the last leader's lease expired. Negative while there is a leader; None if
    #: there never was one.
    leaderless_s: float | None = None
    queues: Sequence[QueueAnswer] = ()
    workers: Sequence[Row] = ()
    kinds: Sequence[Row] = ()
    overdue: Sequence[Row] = ()
    schedules: Mapping[str, Record] = field(default_factory=dict)
    parked: Sequence[Row] = ()
    crash_loops: Sequence[Row] = ()
    #: Error groups that are new or came back. The group whose error occurred last comes first.
    errors: Sequence[Row] = ()
    #: The bulk operations in progress, with the seconds since each last made progress.
    bulk_acts: Sequence[Row] = ()
    #: Number of days after today for which the tables already have partitions.
    days_ahead: int | None = None
    #: Seconds for which the oldest workflow event has waited to be applied.
    workflow_event_s: float = 0
    unknown: list[str] = field(default_factory=list)


Ask = Callable[[Facts], Awaitable[None]]


class HealthFacts:
    """Reads all facts for a health check, each with its own time limit."""

    def __init__(self, database: Database, reads: Reads, queues: Queues, controls: QueueControls) -> None:
        self._database = database
        self._reads = reads
        self._queues = queues
        self._controls = controls
        self._counts = Fresh(self._counted, KINDS_S)

    async def read(self) -> Facts:
        """Read every fact that Postgres and Redis can answer now. Never raises ServerUnavailable."""
        servers = await probes.servers(self._database, self._queues)
        facts = Facts(datetime.now(UTC), servers)
        end = time.monotonic() + BUDGET_S
        for name, ask in self._questions(servers).items():
            try:
                if time.monotonic() >= end:
                    raise ReadTooSlow(BUDGET_S)
                await ask(facts)
            except (ServerUnavailable, ReadTooSlow):
                log.warning(
                    "operations health: %s could not be read and is reported as unknown", name, exc_info=True
                )
                facts.unknown.append(name)
        return facts

    def _questions(self, servers: Mapping[str, str]) -> dict[str, Ask]:
        questions: dict[str, Ask] = {}
        if servers["redis"] == "ok":
            questions["redis"] = self._redis
        if not servers["postgres"].startswith("away"):
            questions |= self._of_postgres()
            if servers["redis"] == "ok":
                questions["queues"] = self._queue_answers
        return questions

    def _of_postgres(self) -> dict[str, Ask]:
        return {
            "postgres": self._postgres,
            "leader": self._leader,
            "workers": self._workers,
            "kinds": self._kinds,
            "schedules": self._schedules,
            "parked": self._parked,
            "crash_loops": self._crash_loops,
            "errors": self._errors,
            "bulk_acts": self._bulk_acts,
            "partitions": self._partitions,
            "workflows": self._workflows,
        }

    async def _postgres(self, facts: Facts) -> None:
        (facts.postgres,) = await self._run(POSTGRES)

    async def _redis(self, facts: Facts) -> None:
        facts.redis = await self._queues.memory()

    async def _leader(self, facts: Facts) -> None:
        for row in await self._run(LEADER):
            facts.leaderless_s = row["expired_s"]

    async def _queue_answers(self, facts: Facts) -> None:
        facts.queues = await self._controls.all()

    async def _workers(self, facts: Facts) -> None:
        facts.workers = await self._run(WORKERS, minutes=RECENT_MIN, bound=BOUND)

    async def _kinds(self, facts: Facts) -> None:
        facts.kinds = await self._counts.get()

    async def _counted(self) -> Sequence[Row]:
        return await self._reads.run_within(LIMIT_S, KINDS, minutes=RECENT_MIN, hours=RARE_H)

    async def _schedules(self, facts: Facts) -> None:
        facts.overdue = await self._run(OVERDUE)
        facts.schedules = await firing_record.records(self._database)

    async def _parked(self, facts: Facts) -> None:
        facts.parked = await self._run(PARKED, bound=BOUND)

    async def _crash_loops(self, facts: Facts) -> None:
        crash_loop = ErrorKind.CRASH_LOOP
        facts.crash_loops = await self._run(CRASH_LOOPS, bound=BOUND, hours=1, crash_loop=crash_loop)

    async def _errors(self, facts: Facts) -> None:
        facts.errors = await self._run(ERRORS, bound=SEEN_LAST, hours=NEW_H)

    async def _bulk_acts(self, facts: Facts) -> None:
        facts.bulk_acts = await self._run(BULK_ACTS, bound=SEEN_LAST)

    async def _partitions(self, facts: Facts) -> None:
        existing = {row["name"] for row in await self._reads.run(partitions.EXISTING)}
        facts.days_ahead = partitions.days_ahead(existing, facts.at.date())

    async def _workflows(self, facts: Facts) -> None:
        for row in await self._run(WORKFLOW_EVENT):
            facts.workflow_event_s = row["waited_s"]

    async def _run(self, statement: Statement, **values: Any) -> list[dict[str, Any]]:
        return await self._reads.probe_within(LIMIT_S, statement, **values)
