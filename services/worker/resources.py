"""What a worker process is given."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from shared.ledger.database import Database
from shared.settings import Settings
from shared.transport.queues import Queues, connect
from shared.vault import Vault


@dataclass(frozen=True, slots=True)
class Resources:
    """Made in `__main__`, and passed on."""

    #: The pool of the ledger loop.
    ledger: Database
    #: The pool of the bodies' event loop.
    database: Database
    queues: Queues
    gateways: Mapping[type, Any]
    vault: Vault

    @classmethod
    def over(cls, settings: Settings, gateways: Mapping[type, Any], vault: Vault) -> Self:
        """With the servers that the settings name. Connects to nothing."""
        ledger = Database.for_recorder(settings.database_url, "worker")
        database = Database.for_tasks(settings.database_url, "worker-tasks")
        # The statements of bodies may take a minute; the ledger notices a silent primary within seconds.
        ledger.followed_by(database)
        return cls(ledger, database, Queues(connect(settings.redis_url)), gateways, vault)
