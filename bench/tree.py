"""What a recorded no-op task costs in a given tree of this project, whatever that tree's layout is.

Two trees are compared from outside: nothing of the measured tree is imported here. This is the contract that
every tree has to keep, from commit 50ca385 on:

- `python -m piccolo.main migrations forwards all` makes the ledger.
- `python -m services.scheduler` lets `generation.run_id` begin with the run id of Redis once it has compared Redis
  with the ledger, and pushes rows of `task` whose `send_at` has passed.
- `python -m bench.worker` runs the tasks named `bench.do_nothing` of the queue `default`, and counts their
  bodies as `bench/tally.py` says.
- DATABASE_URL, REDIS_URL, OFTEN_VAULT_KEYS and OFTEN_LOG_FORMAT configure all of them.
- The table `task` accepts rows with the columns of `_QUEUE` alone, and `status` becomes `success`.
"""

import sys
import tempfile
from pathlib import Path

import asyncpg
import redis.asyncio as redis

from bench import ours, tally
from bench.processor import Cost, Meter
from bench.programs import Programs
from bench.stage import Stage, migrate
from tests.eventually import eventually
from tests.platform import VAULT_KEYS

#: The name of the no-op task in `bench/tasks.py`, and its queue.
NOOP, QUEUE = "bench.do_nothing", "default"

#: Seconds until the scheduler leads, or has pushed what is due. It pushes 2,000 rows at a time.
TIMEOUT_S = 60.0

_KNOWS_REDIS = "SELECT starts_with(run_id, $1) AND resend_cursor IS NULL FROM generation"
#: $1: name, $2: queue, $3: how many.
_QUEUE = """
    INSERT INTO task (name, type, queue, params, send_at)
    SELECT $1, split_part($1, '.', 1), $2, '{}', now() FROM generate_series(1, $3::integer)
"""
_PUSHED = "SELECT NOT EXISTS (SELECT FROM task WHERE send_at IS NOT NULL)"
_RECORDED = "SELECT count(*) FROM task WHERE name = $1 AND status = 'success'"
#: The connection that asks is not counted, so no other process may help it.
_ALONE = {"max_parallel_workers_per_gather": "0"}


async def cost(stage: Stage, tree: Path, count: int) -> Cost:
    """The marginal cost of the last three quarters of `count` tasks, all queued before the workers start.

    Both readings are taken in one start of the processes. Two starts, one per count, would each add the
    seconds that imports and first connections take, and their variation, to a difference of a few seconds.
    """
    await stage.settle()
    database_url = stage.create_database()
    migrate(database_url, tree)
    folder = Path(tempfile.mkdtemp(prefix="cost-", dir=stage.folder))
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": stage.redis_url,
        "OFTEN_VAULT_KEYS": VAULT_KEYS,
        "OFTEN_LOG_FORMAT": "json",
        tally.VARIABLE: str(folder),
    }
    ledger = await asyncpg.connect(database_url, server_settings=_ALONE)
    try:
        with Programs(folder, environment, root=tree) as programs:
            await _queue(ledger, programs, stage.redis_url, count)
            return await _drain(stage, ledger, programs, folder, count)
    finally:
        await ledger.close()
        # Otherwise its autovacuum would be counted for the next side.
        await stage.drop_database(database_url)


async def _queue(ledger: asyncpg.Connection, programs: Programs, redis_url: str, count: int) -> None:
    """Start a scheduler and let it push `count` tasks."""
    async with redis.Redis.from_url(redis_url) as client:
        run_id = (await client.info("server"))["run_id"]
    programs.start(sys.executable, "-m", "services.scheduler")
    await eventually(lambda: _yes(ledger, programs, _KNOWS_REDIS, run_id), TIMEOUT_S)
    await ledger.execute(_QUEUE, NOOP, QUEUE, count)
    await eventually(lambda: _yes(ledger, programs, _PUSHED), TIMEOUT_S)


async def _drain(
    stage: Stage, ledger: asyncpg.Connection, programs: Programs, folder: Path, count: int
) -> Cost:
    """Start the workers, and read the meter when a quarter and when all of the tasks are recorded."""
    for _ in range(ours.WORKERS):
        programs.start(sys.executable, "-m", "bench.worker")
    parts = {"its processes": programs.roots(), "Postgres": [stage.postgres], "Redis": [stage.valkey]}
    meter = Meter(parts, without=[ledger.get_server_pid()])
    await tally.reaches(folder, count // 4, programs.check)
    begin = meter.read(await ledger.fetchval(_RECORDED, NOOP))
    await tally.reaches(folder, count, programs.check)
    await eventually(lambda: _yes(ledger, programs, f"{_RECORDED} HAVING count(*) = $2", NOOP, count))
    return meter.read(count).since(begin)


async def _yes(ledger: asyncpg.Connection, programs: Programs, question: str, *values: object) -> bool:
    programs.check()
    return bool(await ledger.fetchval(question, *values))
