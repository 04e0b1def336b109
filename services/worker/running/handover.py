"""Writes the outcomes of task bodies that could only be stopped by ending their process.

An outcome must not be written while its task body still runs, because the task could then run twice
at the same time. The worker therefore replaces itself with this program (`python -m
services.worker.running.handover`), which writes the outcomes in the name of the old worker. It then
becomes a worker again, or exits if it was asked to stop. If it is killed, the rescuer (a loop of
the scheduler) takes back the tasks whose outcomes were not written.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from uuid import UUID

import msgspec

from services.worker.claims.heartbeat import STOPPED
from services.worker.ending import STOP_SIGNALS
from services.worker.recording.record import Row, columns
from shared import settings as settings_module
from shared.errors import ServerUnavailable
from shared.ledger.database import Database
from shared.ledger.transitions.record import RECORD
from shared.settings import Settings
from shared.telemetry.logging import configure
from shared.transport.queues import Queues, connect

log = logging.getLogger(__name__)

NOT_STORED = "not all outcomes could be stored; the rescuer takes back the tasks whose outcomes are missing"

#: Environment variable that carries the encoded `Handover` to the program that replaces the worker.
VARIABLE = "WORKER_HANDOVER"


class Handover(msgspec.Struct):
    """Outcomes that a worker leaves to the program that replaces it."""

    worker: UUID
    rows: list[Row]
    #: Command line of the program that runs after the outcomes are written. None means that the
    #: process exits.
    successor: list[str] | None


def leave(worker: UUID, rows: Sequence[Row], successor: Sequence[str] | None) -> None:
    """Replace this process with the handover program. This ends the task bodies that still run.

    Returns if that is impossible, for example because the outcomes are too large for an environment
    variable. The caller then has to end this process.
    """
    handover = Handover(worker, list(rows), list(successor) if successor else None)
    environment = {**os.environ, VARIABLE: msgspec.json.encode(handover).decode()}
    try:
        os.execve(sys.executable, [sys.executable, "-m", "services.worker.running.handover"], environment)
    except OSError:
        log.exception(NOT_STORED, extra={"worker_id": str(worker)})


async def write(settings: Settings, handover: Handover) -> None:
    """Write the outcomes to Postgres, and acknowledge their tasks in Redis.

    Raises ServerUnavailable if Postgres is unavailable. The rescuer then takes back the tasks.
    """
    database = Database.for_service(settings.database_url, "handover")
    await database.open(size=1)
    queues = Queues(connect(settings.redis_url))
    try:
        rows = sorted(handover.rows, key=lambda row: row.id)
        await database.run(RECORD, **columns(rows), worker=handover.worker)
        # The worker is recorded as stopped. From here on, the rescuer may take back every other
        # task that this worker held.
        await database.run(STOPPED, worker=handover.worker)
        await _acknowledge(queues, handover)
    finally:
        await database.close()
        await queues.client.aclose()


async def _acknowledge(queues: Queues, handover: Handover) -> None:
    try:
        await queues.acknowledge(handover.worker, [row.id for row in handover.rows])
    except ServerUnavailable as error:
        text = "the outcomes of %d tasks are stored, and only their ids remain in Redis: %s"
        log.warning(text, len(handover.rows), error, extra={"worker_id": str(handover.worker)})


def main() -> int:
    handover = msgspec.json.decode(os.environ.pop(VARIABLE), type=Handover)
    settings = settings_module.read(os.environ)
    configure("worker", settings.log_format)
    # The outcomes are written even if the process is asked to stop in the meantime.
    stops: list[int] = []
    for number in STOP_SIGNALS:
        signal.signal(number, lambda number, _frame: stops.append(number))
    try:
        asyncio.run(write(settings, handover))
    except ServerUnavailable as error:
        log.warning("%s: %s", NOT_STORED, error, extra={"worker_id": str(handover.worker)})
    except Exception:
        # Whatever it is, the successor has to start. Otherwise, the worker would be missing.
        log.exception(NOT_STORED, extra={"worker_id": str(handover.worker)})
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    if handover.successor is not None and not stops:
        os.execv(handover.successor[0], handover.successor)
    return 0


if __name__ == "__main__":
    sys.exit(main())
