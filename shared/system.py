"""The identity of a system: the id of its ledger.

Redis carries it, so that two systems never share a database: they would take each other's ids.
"""

from shared.errors import ServerUnavailable, Stranger
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.transport.queues import Queues

#: How often a process that could not read the id tries again.
JOIN_EVERY_S = 1.0

SYSTEM = Statement("SELECT system FROM generation WHERE id = 1")


async def join(database: Database, queues: Queues) -> None:
    """Tell `queues` to which system this process belongs; from then on it refuses the Redis of another one.

    Raises Stranger, or ServerUnavailable while Postgres is away. A Redis that is away is asked later, with
    each script.
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
