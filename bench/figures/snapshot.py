"""Measures how long the scheduler's SQL statements take while a database snapshot stays open under
load.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import asyncpg

from bench import crew, ours
from bench.figure import Benchmark, Figure, Measured, Round
from bench.stage import Stage
from local.postgres import SUPERUSER
from shared.contracts.system import HEALTH_CHECK, HealthCheck
from shared.roles import SCHEDULER
from tests.platform import Platform
from tests.roles import as_role

log = logging.getLogger(__name__)

#: Seconds for which the snapshot stays open, and number of tasks that are submitted per second
#: meanwhile.
HELD_S, PER_S = 600, 1_000
#: Seconds between two batches of submissions.
EVERY_S = 0.1
#: Duration in milliseconds above which Postgres logs a statement of the scheduler.
LOGGED_MS = 5.0
#: Number of slow statements that are logged after a round, slowest first.
SHOWN = 10

#: A slow SQL statement: its duration in ms, and its text.
Slow = tuple[float, str]

FIGURE = Figure(
    "scheduler beside an open snapshot",
    f"longest statement of the scheduler in ms while a snapshot stays open for {HELD_S // 60} minutes and "
    f"{PER_S:,} no-op tasks are submitted per second",
    required=50,
    lower_is_better=True,
)

#: An entry of Postgres' log: the duration of a statement, and its text up to the next entry.
_ENTRY = re.compile(
    r"^\S+ \S+ UTC \[\d+\] LOG:  duration: ([0-9.]+) ms  \w+ [^:]*:(.*?)(?=^\d{4}-)", re.M | re.S
)


async def measure(stage: Stage, rounds: int) -> Sequence[Measured]:
    measured = Measured(FIGURE, "ms")
    for _ in range(rounds):
        await stage.settle()
        async with stage.platform() as platform, crew.working(platform):
            async with _slow_statements(stage, platform) as slow, _snapshot(platform):
                count = await _submit(platform, stage.count(HELD_S))
            await ours.finished(platform, HEALTH_CHECK)
        log.info("submitted %d tasks; %d scheduler statements took over %g ms", count, len(slow), LOGGED_MS)
        for statement in sorted(slow, reverse=True)[:SHOWN]:
            log.info("%.0f ms: %.300s", *statement)
        measured.rounds.append(Round(max(slow, default=(LOGGED_MS, ""))[0], 1))
    return [measured]


@contextlib.asynccontextmanager
async def _snapshot(platform: Platform) -> AsyncIterator[None]:
    """Keep a database snapshot open inside this context, as pg_dump or a forgotten session does."""
    connection = await platform.database.connect()
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            assert await connection.fetchval("SELECT count(*) FROM task") == 0
            yield
            assert await connection.fetchval("SELECT count(*) FROM task") == 0
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def _slow_statements(stage: Stage, platform: Platform) -> AsyncIterator[list[Slow]]:
    """Log slow statements of the scheduler inside this context. Yields a list that is filled with
    them when the context ends.
    """
    setting = f"ALTER ROLE {SCHEDULER} %s log_min_duration_statement"
    await _as_superuser(platform, f"{setting % 'SET'} = {LOGGED_MS:g}")
    # Ends the scheduler's connections, because the setting applies to new ones only.
    await _as_superuser(platform, _CUT)
    found: list[Slow] = []
    begin = stage.postgres_log.stat().st_size
    try:
        yield found
        found += _slow(stage.postgres_log, begin)
    finally:
        await _as_superuser(platform, setting % "RESET")


_CUT = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{SCHEDULER}'"


def _slow(path: Path, begin: int) -> list[Slow]:
    with path.open("rb") as entries:
        entries.seek(begin)
        text = entries.read().decode()
    return [(float(found[1]), " ".join(found[2].split())) for found in _ENTRY.finditer(text)]


async def _as_superuser(platform: Platform, statement: str) -> None:
    connection = await asyncpg.connect(as_role(platform.database_url, SUPERUSER))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _submit(platform: Platform, seconds: float) -> int:
    """Submit tasks at a steady pace for this many seconds. Returns the number of
    submitted tasks.
    """
    loop = asyncio.get_running_loop()
    begin, rounds = loop.time(), int(seconds / EVERY_S)
    batch = int(PER_S * EVERY_S)
    for number in range(rounds):
        await platform.submit(HEALTH_CHECK, HealthCheck(), count=batch)
        await asyncio.sleep(max(0.0, begin + (number + 1) * EVERY_S - loop.time()))
    return rounds * batch


BENCHMARK = Benchmark("snapshot", measure, rounds=1)
