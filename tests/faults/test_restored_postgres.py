"""Tests that tasks run again after a backup of Postgres was restored, while Redis has
newer data.
"""

import secrets
import time
from pathlib import Path

from tests import own_postgres
from tests.own_postgres import copied, migrated, restored, serving
from tests.platform import Platform
from tests.sample_tasks import INSTANT, Nothing

TASKS = 6_000
#: Seconds within which all tasks must have run. It would take 78 s if lost ids were only found by
#: checking list after list.
HEALED_S = 30.0


async def test_tasks_that_redis_has_dropped_since_the_backup_are_sent_again_within_seconds(
    folder: Path, redis_url: str, tmp_path: Path
) -> None:
    own = folder / secrets.token_hex(4)
    server = own_postgres.settle(own / "server")
    async with serving(server) as running:
        url = migrated(server, "restored")
        async with Platform(url, redis_url, tmp_path) as platform:
            await platform.start_scheduler()
            ids = await platform.submit(INSTANT, Nothing(), count=TASKS)
            backup = copied(server, own / "backup", standby=False)
            await platform.start_worker()
            await platform.all_final(ids)
            async with restored(running, backup):
                began = time.monotonic()
                (first,) = await platform.tasks(ids[:1])
                assert first["status"] == "pending"
                rows = await platform.all_final(ids, timeout_s=120)
                healed_s = time.monotonic() - began
    assert {row["status"] for row in rows} == {"success"}
    assert healed_s < HEALED_S
