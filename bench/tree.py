"""Measures the processor time per recorded no-op task in a source tree of this project.

The tree may be of any commit. Its processes are controlled from outside; none of its modules is
imported here. So that any two trees can be compared, every tree since commit 50ca385 has to keep
this contract:

- `python -m piccolo.main migrations forwards all` creates the database tables.
- `python -m services.scheduler` compares the database with Redis. Afterwards `generation.run_id`
  starts with the run id of Redis, and `generation.resend_cursor` is null.
- The scheduler also pushes the rows of `task` whose `send_at` has passed.
- `python -m bench.worker` runs tasks named `bench.do_nothing` from the queue `default`. Their bodies
  are counted in files with the format of `bench/tally.py`, in the folder in BENCH_TALLY.
- DATABASE_URL, REDIS_URL, OFTEN_VAULT_KEYS and OFTEN_LOG_FORMAT configure all three.
- An insert into `task` that sets only the columns in `_QUEUE` is accepted. A recorded task has the
  status `success`.

Traced tasks are measured only in trees that support tracing.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import redis.asyncio as redis

from bench import ours, tally
from bench.processor import Cost, Meter
from bench.programs import Programs
from bench.stage import Stage, migrate
from tests.eventually import eventually
from tests.platform import VAULT_KEYS

#: Name and queue of the no-op task, as in `bench/tasks.py`.
NOOP, QUEUE = "bench.do_nothing", "default"

#: Time limits in seconds, for the scheduler to start, and then to push all tasks, 2,000 at a time.
TIMEOUT_S = 60.0

_KNOWS_REDIS = "SELECT starts_with(run_id, $1) AND resend_cursor IS NULL FROM generation"
#: SQL: inserts tasks. $1: name; $2: queue; $3: number of tasks.
_QUEUE = """
    INSERT INTO task (name, type, queue, params, send_at)
    SELECT $1, split_part($1, '.', 1), $2, '{}', now() FROM generate_series(1, $3::integer)
"""
#: SQL: sets the trace context of every hundredth task to $1. Null leaves the tasks untraced, at the
#: same cost for Postgres.
_TRACE = """
    UPDATE task SET trace_context = $1
    FROM (SELECT id, row_number() OVER () AS number FROM task) AS numbered
    WHERE task.id = numbered.id AND number % 100 = 0
"""
_TRACE_CONTEXT = f"00-{1:032x}-{1:016x}-01"
_PUSHED = "SELECT NOT EXISTS (SELECT FROM task WHERE send_at IS NOT NULL)"
_RECORDED = "SELECT count(*) FROM task WHERE name = $1 AND status = 'success'"
_ALL_RECORDED = f"{_RECORDED} HAVING count(*) = $2"
#: Postgres settings for the benchmark's own connection. The measured processor time excludes the
#: server process of this connection, so its queries must not start parallel workers.
_ALONE = {"max_parallel_workers_per_gather": "0"}


@dataclass(frozen=True)
class Tracing:
    """How a run is traced: with the URL of a trace collector, every hundredth task is traced.

    Without a collector, tracing is off. The same tasks are marked in both cases, so that marking
    costs the same.
    """

    collector: str | None


async def cost(stage: Stage, tree: Path, count: int, *, tracing: Tracing | None = None) -> Cost:
    """Cost per task of the last three quarters of `count` tasks, which are queued before the
    workers start.

    Processor time is read twice in the same processes, after a quarter of the tasks and after all.
    If each reading had its own start of processes, the measured difference of about 4 s would
    include the difference between two starts (imports, connections, query plans), and a round would
    take longer.
    """
    await stage.settle()
    database_url = stage.create_database()
    migrate(database_url, tree)
    folder = Path(tempfile.mkdtemp(prefix="cost-", dir=stage.folder))
    collector = tracing.collector if tracing else None
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": stage.redis_url,
        "OFTEN_VAULT_KEYS": VAULT_KEYS,
        "OFTEN_LOG_FORMAT": "json",
        tally.VARIABLE: str(folder),
        **({"OFTEN_TRACING": "on", "OTEL_EXPORTER_OTLP_ENDPOINT": collector} if collector else {}),
    }
    ledger = await asyncpg.connect(database_url, server_settings=_ALONE)
    try:
        with Programs(folder, environment, root=tree) as programs:
            await _queue(ledger, programs, stage.redis_url, count)
            if tracing:
                await ledger.execute(_TRACE, _TRACE_CONTEXT if collector else None)
            return await _drain(stage, ledger, programs, folder, count)
    finally:
        await ledger.close()
        # The database is dropped now, because its autovacuum would count towards the next
        # measurement.
        await stage.drop_database(database_url)


async def _queue(ledger: asyncpg.Connection, programs: Programs, redis_url: str, count: int) -> None:
    """Store `count` tasks, and let a scheduler push their ids to Redis."""
    async with redis.Redis.from_url(redis_url) as client:
        run_id = (await client.info("server"))["run_id"]
    programs.start(sys.executable, "-m", "services.scheduler")
    await eventually(lambda: _yes(ledger, programs, _KNOWS_REDIS, run_id), TIMEOUT_S)
    await ledger.execute(_QUEUE, NOOP, QUEUE, count)
    await eventually(lambda: _yes(ledger, programs, _PUSHED), TIMEOUT_S)


async def _drain(
    stage: Stage, ledger: asyncpg.Connection, programs: Programs, folder: Path, count: int
) -> Cost:
    """Start the workers, and read the processor time when a quarter of the tasks is recorded and
    when all are.

    The first reading also waits until each worker has run a task, because on a busy machine one
    worker may run a quarter of them before the other has started. The counts that the workers write
    to files decide when to read, because queries to the database would slow down the workers.
    """
    for _ in range(ours.WORKERS):
        programs.start(sys.executable, "-m", "bench.worker")
    parts = {"its processes": programs.roots(), "Postgres": [stage.postgres], "Redis": [stage.valkey]}
    meter = Meter(parts, without=[ledger.get_server_pid()])
    await tally.reaches(folder, count // 4, programs.check, processes=ours.WORKERS)
    begin = meter.read(await ledger.fetchval(_RECORDED, NOOP))
    await tally.reaches(folder, count, programs.check)
    await eventually(lambda: _yes(ledger, programs, _ALL_RECORDED, NOOP, count))
    return meter.read(count).since(begin)


async def _yes(ledger: asyncpg.Connection, programs: Programs, question: str, *values: object) -> bool:
    programs.check()
    return bool(await ledger.fetchval(question, *values))
