"""A fault of the drill: a backup of Postgres is restored, while Redis keeps its newer data."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from shared.contracts.contract import HIGHEST_PRIORITY
from shared.ledger.lifecycle import FINAL
from shared.new_task import NewTask
from tests.drill import load
from tests.drill.crew import Crew
from tests.drill.fault import fault
from tests.drill.network import Network
from tests.own_postgres import Running, copied, migrated, restored, serving, settle
from tests.sample_tasks import INSTANT, Nothing

#: Promised seconds of recovery. The leading scheduler notices the restore in its first round, and
#: then sends 5,000 tasks per round.
PROMISED_S = 5.0
#: Seconds between the backup and its restore. Workers and the scheduler keep working meanwhile, so
#: that the data in Redis becomes newer than the backup.
LATER_S = 5.0
DATABASE = "drill"
#: Tasks that are submitted just before the backup, and that run between the backup and the restore.
#: According to the restored database, their ids are in Redis, but Redis no longer has them. The
#: scheduler detects that at once, because Redis also contains the time of the last check of its
#: lists, which is later than the time in the restored database. Comparing the lists alone would
#: take 30 s.
URGENT = [NewTask(contract=INSTANT, params=Nothing(), priority=HIGHEST_PRIORITY)] * 1_500

ENDED = "SELECT id, clock_timestamp() AS now FROM task WHERE status = ANY($1::text[])"
#: SQL that counts which of the tasks $1 had not ended when the backup was made. $2 is a time
#: between the backup and the restore.
UNDONE = """
    SELECT count(*) FROM task WHERE id = ANY($1::uuid[]) AND (completed_at <= $2) IS NOT TRUE
"""


@dataclass(frozen=True, kw_only=True)
class Restorable(Network):
    """A network with a separate Postgres server, because a restore affects all databases of a
    server.
    """

    running: Running
    #: Folder that contains the backup.
    backup: Path


@asynccontextmanager
async def restorable(_: str, redis_url: str, folder: Path) -> AsyncIterator[Restorable]:
    server = settle(folder / "server")
    async with serving(server, durable=True) as running:
        url = migrated(server, DATABASE)
        yield Restorable(
            database_url=url, redis_url=redis_url, own_url=url, running=running, backup=folder / "backup"
        )


@fault(
    "a backup of Postgres is restored beside a newer Redis",
    promised_s=PROMISED_S,
    deaths=True,
    network=restorable,
)
async def restore_postgres(crew: Crew) -> str:
    network = crew.network
    assert isinstance(network, Restorable)
    # No task is submitted between the backup and the restore, because it would be accepted and then
    # lost by the restore.
    async with crew.no_submissions():
        await load.submit_once(crew, URGENT)
        await crew.platform.submitter.mark()
        backup = await asyncio.to_thread(copied, network.running.server, network.backup, standby=False)
        await asyncio.sleep(LATER_S)
        ended, moment = await _ended(crew)
        await crew.closing.enter_async_context(restored(network.running, backup, durable=True))
        undone = await _undone(crew, ended, moment)
    assert undone, "no task ended between the backup and the restore"
    return f"{undone} tasks ended after the backup and ran again"


async def _ended(crew: Crew) -> tuple[list[UUID], datetime]:
    async with crew.database.connected() as connection:
        rows = await connection.fetch(ENDED, list(FINAL))
    return [row["id"] for row in rows], rows[0]["now"]


async def _undone(crew: Crew, ended: list[UUID], moment: datetime) -> int:
    async with crew.database.connected() as connection:
        return int(await connection.fetchval(UNDONE, ended, moment))


FAULTS = (restore_postgres,)
