"""What breaks. Each fault returns when it is over; the scenario measures from then."""

import asyncio
import random
import signal
import subprocess
from collections.abc import Awaitable, Callable

from tests.drill.crew import Crew

Fault = Callable[[Crew], Awaitable[None]]

#: Longer than every lease and than the time-out of a statement.
FREEZE_S = 15.0
RANDOM_S = 60.0


async def nothing(crew: Crew) -> None:
    """For comparison."""


async def kill_workers(crew: Crew) -> None:
    """kill -9 of every worker in turn; each comes back."""
    for worker in list(crew.workers):
        worker.kill()
        await asyncio.sleep(2)


async def wipe_redis(crew: Crew) -> None:
    """FLUSHALL."""
    await crew.platform.queues.client.flushall()


async def cut_redis(crew: Crew) -> None:
    """kill -9 of Valkey; the last KB of its log is lost."""
    crew.servers.valkey.kill()
    crew.servers.cut_log(1_024)
    await crew.servers.valkey.start()


async def lose_redis(crew: Crew) -> None:
    """kill -9 of Valkey; its files are gone."""
    crew.servers.valkey.kill()
    crew.servers.lose_files()
    await crew.servers.valkey.start()


async def freeze_redis(crew: Crew) -> None:
    """SIGSTOP of Valkey."""
    with crew.servers.valkey.frozen():
        await asyncio.sleep(FREEZE_S)


async def freeze_postgres(crew: Crew) -> None:
    """SIGSTOP of Postgres."""
    with crew.servers.postgres.frozen():
        await asyncio.sleep(FREEZE_S)


async def kill_postgres(crew: Crew) -> None:
    """kill -9 of Postgres, which recovers."""
    crew.servers.postgres.kill()
    await crew.servers.postgres.start()


async def freeze_worker(crew: Crew) -> None:
    """SIGSTOP of a worker past its lease, then SIGCONT."""
    await _freeze(crew.workers[0])


async def freeze_leader(crew: Crew) -> None:
    """SIGSTOP of the leader past its lease, then SIGCONT."""
    await _freeze(await crew.leader())


async def kill_leader(crew: Crew) -> None:
    """kill -9 of the leader; the standby takes over."""
    (await crew.leader()).kill()


async def anything(crew: Crew) -> None:
    """All of them at random."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + RANDOM_S
    while loop.time() < ends:
        await random.choice(ALL[1:-1])(crew)
        await asyncio.sleep(random.uniform(0, 3))


async def _freeze(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(FREEZE_S)
    process.send_signal(signal.SIGCONT)


ALL: list[Fault] = [
    nothing,
    kill_workers,
    wipe_redis,
    cut_redis,
    lose_redis,
    freeze_redis,
    freeze_postgres,
    kill_postgres,
    freeze_worker,
    freeze_leader,
    kill_leader,
    anything,
]
