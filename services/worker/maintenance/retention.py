"""How long the audit log is kept: a setting, because a parameter of the cleanup could shorten it unseen."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.contracts.context import Sql
from shared.ledger.ids import first_uuid7
from shared.ledger.statement import Statement
from shared.settings import Settings
from shared.telemetry import metrics

#: Rows per statement.
BATCH = 1_000

#: Ids begin with the time, so the oldest rows are at the beginning of the primary key.
_PRUNE = Statement("""
    DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE id < :first_kept ORDER BY id LIMIT :limit)
    RETURNING 1
""")


@dataclass(frozen=True, slots=True)
class Retention:
    """What the cleanup asks its process for."""

    audit: timedelta


def gateways(settings: Settings) -> dict[type, Any]:
    return {Retention: Retention(settings.audit_retention)}


async def prune_audit(database: Sql, retention: Retention) -> None:
    """Delete what is older than the retention."""
    first_kept, gone = first_uuid7(datetime.now(UTC) - retention.audit), BATCH
    while gone == BATCH:
        gone = len(await database.run(_PRUNE, first_kept=first_kept, limit=BATCH))
        metrics.PRUNED.labels("audit").inc(gone)
