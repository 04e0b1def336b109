"""The identity of a system: the id that is stored in its ledger, which is the Postgres database.

Redis stores the id, too. This prevents two systems from sharing a Redis database, because they
would fetch each other's tasks.
"""

from shared.contracts.context import Sql
from shared.errors import ServerUnavailable, Stranger
from shared.ledger.statement import Statement
from shared.transport.queues import Queues

#: Interval in seconds at which a process retries to read the system id from Postgres.
JOIN_EVERY_S = 1.0

SYSTEM = Statement("SELECT system FROM generation WHERE id = 1")


async def join(database: Sql, queues: Queues) -> None:
    """Read the system id from Postgres and store it in `queues`, which from then on refuses a Redis
    database of another system.

    Raises Stranger if Redis belongs to another system, or ServerUnavailable if Postgres is
    unavailable. If Redis is unavailable, it is checked later, with each script.
    """
    if queues.system is not None:
        return
    (row,) = await database.run(SYSTEM)
    queues.system = row["system"]
    try:
        await queues.generation()
    except Stranger:
        raise
    except ServerUnavailable:
        return
