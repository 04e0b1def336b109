"""Writes the outcomes of bodies that only the end of their process could end.

No outcome may be written while such a body runs. The worker therefore replaces itself by this program
(`python -m services.worker.running.handover`), which writes under the old worker's claims and then becomes a
worker again, or ends. If it is killed itself, the rescuer takes what is left.
"""

import asyncio
import os
import sys
from collections.abc import Sequence
from typing import NoReturn
from uuid import UUID

import msgspec

from services.worker.claims.heartbeat import STOPPED
from services.worker.recording.record import Row, columns
from shared import settings as settings_module
from shared.errors import ServerUnavailable
from shared.ledger.database import Database
from shared.ledger.transitions.record import RECORD
from shared.settings import Settings
from shared.telemetry.logging import configure
from shared.transport.queues import Queues, connect

#: Environment variable that carries it over the exec.
VARIABLE = "WORKER_HANDOVER"


class Handover(msgspec.Struct):
    """What a worker leaves to be written."""

    worker: UUID
    rows: list[Row]
    #: Arguments of the program to become afterwards; None: end.
    successor: list[str] | None


def leave(worker: UUID, rows: Sequence[Row], successor: Sequence[str] | None) -> NoReturn:
    """Replace this process; the bodies that still run end here."""
    handover = Handover(worker, list(rows), list(successor) if successor else None)
    environment = {**os.environ, VARIABLE: msgspec.json.encode(handover).decode()}
    os.execve(sys.executable, [sys.executable, "-m", "services.worker.running.handover"], environment)


async def write(settings: Settings, handover: Handover) -> None:
    """Raises ServerUnavailable; then the rescuer takes the rows."""
    database = Database.for_service(settings.database_url, "handover")
    await database.open(size=1)
    queues = Queues(connect(settings.redis_url))
    try:
        rows = sorted(handover.rows, key=lambda row: row.id)
        await database.run(RECORD, **columns(rows), worker=handover.worker)
        # From here on whatever else it held is the rescuer's.
        await database.run(STOPPED, worker=handover.worker)
        await queues.acknowledge(handover.worker, [row.id for row in rows])
    finally:
        await database.close()
        await queues.client.aclose()


def main() -> int:
    handover = msgspec.json.decode(os.environ.pop(VARIABLE), type=Handover)
    settings = settings_module.read(os.environ)
    configure("worker", settings.log_format)
    try:
        asyncio.run(write(settings, handover))
    except ServerUnavailable as error:
        sys.stderr.write(f"worker: {error}; the rescuer takes {len(handover.rows)} tasks\n")
    if handover.successor is not None:
        os.execv(handover.successor[0], handover.successor)
    return 0


if __name__ == "__main__":
    sys.exit(main())
