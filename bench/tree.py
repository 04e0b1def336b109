"""Processor time per recorded no-op task in a given tree of this project, whatever its layout.

The tree is driven from outside: nothing of it is imported here. So that any two trees can be
compared, every tree since commit 50ca385 has to keep this contract:

- `python -m piccolo.main migrations forwards all` creates the ledger.
- `python -m services.scheduler` compares the ledger with Redis. Afterwards `generation.run_id`
  starts with the run id of Redis, and `generation.resend_cursor` is null.
- The scheduler also pushes the rows of `task` whose `send_at` has passed.
- `python -m bench.worker` runs tasks named `bench.do_nothing` from the queue `default`, and their
  bodies write tallies in the format of `bench/tally.py` to the folder in BENCH_TALLY.
- DATABASE_URL, REDIS_URL, OFTEN_VAULT_KEYS and OFTEN_LOG_FORMAT configure all three.
- An insert into `task` that sets only the columns in `_QUEUE` is accepted. A recorded task has the
  status `success`.
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

#: Time limit for the scheduler to start, and for it to push all tasks, 2,000 at a time.
TIMEOUT_S = 60.0

_KNOWS_REDIS = "SELECT starts_with(run_id, $1) AND resend_cursor IS NULL FROM generation"
#: $1: name, $2: queue, $3: how many.
_QUEUE = """
    INSERT INTO task (name, type, queue, params, send_at)
    SELECT $1, split_part($1, '.', 1), $2, '{}', now() FROM generate_series(1, $3::integer)
"""
_PUSHED = "SELECT NOT EXISTS (SELECT FROM task WHERE send_at IS NOT NULL)"
_RECORDED = "SELECT count(*) FROM task WHERE name = $1 AND status = 'success'"
_ALL_RECORDED = f"{_RECORDED} HAVING count(*) = $2"
#: The backend of our own connection is not counted, so it must not start parallel workers.
_ALONE = {"max_parallel_workers_per_gather": "0"}


async def cost(stage: Stage, tree: Path, count: int) -> Cost:
    """Marginal cost of the last three quarters of `count` tasks, queued before the workers start.

    Both readings are taken in the same processes. With one start per reading, the difference of
    about 4 s would include how much two starts differ in imports, connections and plans, and a
    round would take longer.
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
        # If it stayed, its autovacuum would be counted for whatever is measured next.
        await stage.drop_database(database_url)


async def _queue(ledger: asyncpg.Connection, programs: Programs, redis_url: str, count: int) -> None:
    """Store `count` tasks and let a scheduler push them."""
    async with redis.Redis.from_url(redis_url) as client:
        run_id = (await client.info("server"))["run_id"]
    programs.start(sys.executable, "-m", "services.scheduler")
    await eventually(lambda: _yes(ledger, programs, _KNOWS_REDIS, run_id), TIMEOUT_S)
    await ledger.execute(_QUEUE, NOOP, QUEUE, count)
    await eventually(lambda: _yes(ledger, programs, _PUSHED), TIMEOUT_S)


async def _drain(
    stage: Stage, ledger: asyncpg.Connection, programs: Programs, folder: Path, count: int
) -> Cost:
    """Start the workers, and read the meter once a quarter and once all of the tasks are recorded.

    The first reading also waits until each worker has run a task: on a busy machine one may do a
    quarter of them before the other has started. Tallies say when to look, because questions to the
    ledger slow down what is measured.
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
