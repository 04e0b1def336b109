"""Runs the task function of a past task in this process, for debugging.

`often reproduce ID` writes the task to a file and starts this program. No task is submitted, and no
outcome is recorded. But the function's own effects are real: its SQL statements reach the database,
and its requests reach the outside services. The running system's sandbox simulates these unless
`--real` is given.
"""

import argparse
import asyncio
import os
import pdb
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from local import outside, system
from local.errors import LaunchError
from services.worker import registry
from services.worker.registry import TaskFunction
from shared import applications
from shared import settings as settings_module
from shared.applications import Application
from shared.errors import InvalidFields, SettingsError, UnknownTask
from shared.ledger.database import Database
from shared.ledger.tables import TABLES
from shared.testing import InlineRun, run_inline

FAILED, UNUSABLE = 1, 2
#: Size of the connection pool to Postgres, enough for one task function.
POOL = 2


class PastTask(msgspec.Struct):
    """A task that has already run, as the API describes it."""

    name: str
    params: dict[str, Any]
    owner: int | None


def main() -> int:
    options = _options()
    past = msgspec.json.decode(options.file.read_bytes(), type=PastTask)
    try:
        if not options.real:
            os.environ.update(_played())
        settings = settings_module.read(os.environ, needs=("database_url",))
        found = applications.find(settings.applications)
        task, params = _prepare(past, found)
        gateways = registry.gateways(found, settings)
    except (LaunchError, SettingsError, InvalidFields, UnknownTask) as error:
        sys.stderr.write(f"often reproduce: {error}\n")
        return UNUSABLE
    database = Database.for_tasks(settings.database_url, "reproduce")
    database.bind([*TABLES, *applications.tables(found)])
    try:
        ran = asyncio.run(_run(database, task, params, gateways, past.owner))
    except Exception as error:  # noqa: BLE001 - whatever the body raises is what one wants to see
        traceback.print_exc()
        if options.pdb:
            pdb.post_mortem(error.__traceback__)
        return FAILED
    _report(ran)
    return 0


def _played() -> dict[str, str]:
    """Settings with the addresses of the running system and its sandbox. Raises LaunchError if no
    system is running.
    """
    running = system.read()
    vapid = system.recall_secrets().vapid_private_key
    played = outside.stand_ins({}, running.sandbox, vapid).environment
    return played | {"DATABASE_URL": running.postgres, "REDIS_URL": running.redis, **_mail(running.smtp)}


def _mail(smtp: str) -> dict[str, str]:
    """Settings for the mail catcher. Mail goes there even with `--real`."""
    host, _, port = smtp.rpartition(":")
    return {
        "SMTP_HOST": host,
        "SMTP_PORT": port,
        "SMTP_SECURITY": "none",
        "SMTP_USER": "",
        "SMTP_PASSWORD": "",
    }


def _prepare(past: PastTask, found: list[Application]) -> tuple[TaskFunction[Any, Any], Any]:
    """Find the task's function and decode its parameters. Raises UnknownTask or InvalidFields."""
    tasks = registry.load(found)
    if past.name not in tasks:
        raise UnknownTask(past.name, sorted(tasks))
    return tasks[past.name], tasks[past.name].contract.check_params(past.params)


async def _run(
    database: Database,
    task: TaskFunction[Any, Any],
    params: Any,
    gateways: Mapping[type, Any],
    owner: int | None,
) -> InlineRun[Any]:
    await database.open(size=POOL)
    try:
        return await run_inline(task, params, gateways=gateways, owner=owner, database=database)
    finally:
        await database.close()


def _report(ran: InlineRun[Any]) -> None:
    for line in ran.log_lines:
        print(line)
    for child in ran.children:
        print(f"would have submitted {child.contract.name}")
    for started in ran.started:
        print(f"would have started the workflow {started.flow.name}")
    print(msgspec.json.format(msgspec.json.encode(ran.result), indent=2).decode())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.reproduce", description="See `often reproduce`.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--pdb", action="store_true")
    parser.add_argument("--real", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
