"""Deletes entries of the audit log that are older than its retention.

The retention is a setting of the installation. If it were a parameter of the cleanup task, whoever
submits the task could shorten it unnoticed.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.contracts.context import Sql
from shared.ledger.ids import first_uuid7
from shared.ledger.statement import Statement
from shared.settings import Settings
from shared.telemetry import metrics

#: Maximum number of entries that one statement deletes.
BATCH = 1_000

#: Deletes the oldest entries of the audit log. Their ids begin with the time of creation, so the
#: oldest ones come first in the primary key.
_PRUNE = Statement("""
    DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE id < :first_kept ORDER BY id LIMIT :limit)
    RETURNING 1
""")


@dataclass(frozen=True, slots=True)
class Retention:
    """How long entries of the audit log are kept. The cleanup task gets this object from its
    context.
    """

    audit: timedelta


def gateways(settings: Settings) -> dict[type, Any]:
    return {Retention: Retention(settings.audit_retention)}


async def prune_audit(database: Sql, retention: Retention) -> None:
    """Delete the entries of the audit log that are older than the retention."""
    first_kept, gone = first_uuid7(datetime.now(UTC) - retention.audit), BATCH
    while gone == BATCH:
        gone = len(await database.run(_PRUNE, first_kept=first_kept, limit=BATCH))
        metrics.PRUNED.labels("audit").inc(gone)
