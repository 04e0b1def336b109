"""`python -m services.worker`: one worker process.

SIGTERM and SIGINT drain it. A process that has done its share, or was declared dead, replaces itself.
"""

import gc
import logging
import os
import signal
import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any

from services.worker import registry
from services.worker.ending import REPLACED, Ending
from services.worker.process import WorkerProcess
from services.worker.queue_choice import queue_names
from services.worker.registry import TaskFunction
from services.worker.resources import Resources
from services.worker.running import handover
from shared import applications
from shared import settings as settings_module
from shared.errors import SettingsError, Stranger
from shared.ledger import preflight
from shared.ledger.tables import TABLES
from shared.telemetry import exposition
from shared.telemetry.exposition import Health
from shared.telemetry.logging import configure
from shared.vault import Vault

log = logging.getLogger(__name__)


def main(more: Mapping[str, TaskFunction[Any, Any]] | None = None) -> int:
    """Build, run, and end as the process asks for; `more` tasks are run beside those of the applications."""
    try:
        settings = settings_module.read(os.environ)
        configure("worker", settings.log_format)
        settings.warn_of_ignored()
        found = applications.find(settings.applications)
        tasks = registry.load(found) | dict(more or {})
        queues = queue_names(settings.worker_queues, tasks)
        vault = Vault.from_setting(settings.vault_keys)
        vault.require(task.contract for task in tasks.values())
        preflight.check(settings.database_url)
    except SettingsError as error:
        sys.stderr.write(f"worker: {error}\n")
        return 2
    resources = Resources.over(settings, registry.gateways(found, settings), vault)
    resources.database.bind([*TABLES, *applications.tables(found)])
    process = WorkerProcess(settings, queues, tasks, resources)
    health = Health(process.live_problems, process.ready_problems)
    try:
        exposition.serve(settings.metrics_host, settings.metrics_port, health)
    except SettingsError as error:
        sys.stderr.write(f"worker: {error}\n")
        return 2

    def stop(_signal: int, _frame: FrameType | None) -> None:
        process.end(Ending.STOP)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    # What is loaded by now stays: no collection need walk it, and none keeps a task waiting for that long.
    gc.freeze()
    try:
        ending = process.run()
    except Stranger as error:
        log.critical("worker %s refuses to start: %s", process.id, error)
        logging.shutdown()
        os._exit(2)
    except BaseException:
        log.critical("worker %s ends: it broke", process.id, exc_info=True)
        logging.shutdown()
        # Threads that are no daemons, of Dramatiq for example, would keep a process that no longer works.
        os._exit(1)
    logging.shutdown()
    successor = [sys.executable, *sys.orig_argv[1:]] if ending in REPLACED else None
    if process.drain.handed_over:
        handover.leave(process.id, process.drain.handed_over, successor)
    if successor is not None:
        os.execv(successor[0], successor)
    # Threads of bodies that would not end must not keep the process; everything is written.
    os._exit(1 if ending is Ending.BROKEN else 0)


if __name__ == "__main__":
    sys.exit(main())
