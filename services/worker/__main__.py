"""Runs one worker process with `python -m services.worker`.

SIGTERM and SIGINT drain it: it takes no more tasks, finishes those that run, and exits. A process
that has run its maximum number of tasks, or was declared dead, replaces itself by a new process,
unless it is asked to stop in the meantime.
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
from services.worker.ending import STOP_SIGNALS, Ending
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
from shared.telemetry import exposition, tracing
from shared.telemetry.exposition import Health
from shared.telemetry.logging import configure
from shared.vault import Vault

log = logging.getLogger(__name__)


def main(more: Mapping[str, TaskFunction[Any, Any]] | None = None) -> int:
    """Build and run the worker. The way in which it exits depends on why it ended.

    `more` are tasks in addition to those of the applications.
    """
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
        # The worker does not decide which tasks are traced. The API and the scheduler decided it
        # when they submitted the tasks.
        tracing.start(settings, "worker", decides=False)
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

    for number in STOP_SIGNALS:
        signal.signal(number, stop)
    # Exempt everything that is loaded up to here from garbage collection, so that no collection has
    # to visit it while tasks run.
    gc.freeze()
    try:
        ending = process.run()
    except Stranger as error:
        log.critical("the worker refuses to start: %s", error, extra={"worker_id": str(process.id)})
        logging.shutdown()
        os._exit(2)
    except BaseException:
        text = "worker stopping after an unexpected error"
        log.critical(text, exc_info=True, extra={"worker_id": str(process.id)})
        logging.shutdown()
        # `os._exit` is needed because non-daemon threads, such as Dramatiq's, would keep the
        # process alive although it no longer works.
        os._exit(1)
    tracing.stop()
    logging.shutdown()
    # From here on, a signal ends the process immediately. A handler could only note it, and the note
    # would not reach the program that takes the place of this process.
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    successor = [sys.executable, *sys.orig_argv[1:]] if process.replaced else None
    if process.drain.handed_over:
        handover.leave(process.id, process.drain.handed_over, successor)
    if successor is not None:
        os.execv(successor[0], successor)
    # `os._exit` does not wait for threads whose task bodies never end. All outcomes are written by
    # now.
    os._exit(1 if ending is Ending.BROKEN else 0)


if __name__ == "__main__":
    sys.exit(main())
