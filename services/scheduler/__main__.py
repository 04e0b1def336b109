"""Runs one scheduler process with `python -m services.scheduler`.

Several may run: one leads, the others stand by. SIGTERM and SIGINT stop the process.
"""

import asyncio
import logging
import os
import signal
import sys

import uvloop

from services.scheduler.process import SchedulerProcess
from shared import applications
from shared import settings as settings_module
from shared.contracts import catalogue
from shared.errors import ServerUnavailable, SettingsError, Stranger
from shared.ledger import connections, preflight
from shared.ledger.database import Database
from shared.settings import Settings
from shared.telemetry import exposition, tracing
from shared.telemetry.exposition import Health
from shared.telemetry.logging import configure
from shared.transport.queues import Queues, connect
from shared.vault import Vault

log = logging.getLogger(__name__)


async def serve(settings: Settings, vault: Vault) -> None:
    """Run the scheduler until a signal arrives."""
    # Sessions of the scheduler prefer index scans, because the statements that the leader repeats
    # all day must not read the rows of finished tasks.
    database = Database.for_service(settings.database_url, "scheduler", by_index=True)
    await database.open(size=connections.SCHEDULER_POOL)
    redis = connect(settings.redis_url)
    queues = Queues(redis)
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    process = SchedulerProcess(settings, database, queues, vault)
    health = Health(process.live_problems, process.ready_problems)
    exposition.serve(settings.metrics_host, settings.metrics_port, health)
    try:
        if await _joined(process):
            await connections.warn_when_scarce(database, connections.SCHEDULER)
        await process.run(stop)
    finally:
        await redis.aclose()
        await database.close()


async def _joined(process: SchedulerProcess) -> bool:
    """Check that Redis belongs to the same system as Postgres.

    Returns False if the check is impossible because a server is unavailable. Raises Stranger if
    Redis belongs to another system.
    """
    try:
        await process.join()
    except Stranger:
        raise
    except ServerUnavailable as error:
        log.warning("cannot check whether Redis belongs to this system; trying again: %s", error)
        return False
    return True


def main() -> int:
    """Read the settings and run the scheduler. Returns the exit code."""
    try:
        settings = settings_module.read(os.environ)
        configure("scheduler", settings.log_format)
        settings.warn_of_ignored()
        vault = Vault.from_setting(settings.vault_keys)
        vault.require(catalogue.load(applications.find(settings.applications)).by_name.values())
        preflight.check(settings.database_url)
        tracing.start(settings, "scheduler")
    except SettingsError as error:
        sys.stderr.write(f"scheduler: {error}\n")
        return 2
    try:
        uvloop.run(serve(settings, vault))
    except SettingsError as error:
        sys.stderr.write(f"scheduler: {error}\n")
        return 2
    except Stranger as error:
        log.critical("scheduler does not start: %s", error)
        logging.shutdown()
        return 2
    except BaseException:
        log.critical("scheduler stopping after an unexpected error", exc_info=True)
        logging.shutdown()
        os._exit(1)
    tracing.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
