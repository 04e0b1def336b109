"""`python -m services.scheduler`: one scheduler process, leader or standby. SIGTERM and SIGINT stop it."""

import asyncio
import logging
import os
import signal
import sys

import uvloop
from piccolo.engine.postgres import PostgresEngine

from services.scheduler.process import SchedulerProcess
from shared import applications
from shared import settings as settings_module
from shared.contracts import catalogue
from shared.errors import SettingsError
from shared.ledger import engine
from shared.settings import Settings
from shared.telemetry import exposition
from shared.telemetry.exposition import Health
from shared.telemetry.logging import configure
from shared.transport.queues import Queues, connect
from shared.vault import Vault

log = logging.getLogger(__name__)


def build_engine(settings: Settings) -> PostgresEngine:
    """Planned by index: what the leader asks again and again must not read all that has been done."""
    return engine.build(settings.database_url, application="scheduler", by_index=True)


async def serve(settings: Settings, vault: Vault) -> None:
    """Run until a signal comes."""
    database = build_engine(settings)
    engine.bind(database)
    await engine.open_pool(database, size=6)
    redis = connect(settings.redis_url)
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    process = SchedulerProcess(settings, Queues(redis), vault)
    health = Health(process.live_problems, process.ready_problems)
    exposition.serve(settings.metrics_host, settings.metrics_port, health)
    try:
        await process.run(stop)
    finally:
        await redis.aclose()
        await database.close_connection_pool()


def main() -> int:
    """Read settings and serve."""
    try:
        settings = settings_module.read(os.environ)
        vault = Vault.from_setting(settings.vault_keys)
        vault.require(catalogue.load(applications.find(settings.applications)).by_name.values())
    except SettingsError as error:
        sys.stderr.write(f"scheduler: {error}\n")
        return 2
    configure("scheduler", settings.log_format)
    try:
        uvloop.run(serve(settings, vault))
    except BaseException:
        log.critical("the scheduler ends: it broke", exc_info=True)
        logging.shutdown()
        os._exit(1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
