"""The resources that are created once for a worker process, such as database pools."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from shared.ledger.database import Database
from shared.settings import Settings
from shared.transport.queues import Queues, connect
from shared.vault import Vault


@dataclass(frozen=True, slots=True)
class Resources:
    """The resources of a worker process. They are created in `__main__` and passed to the parts."""

    #: Connection pool for the ledger event loop, which writes the state of tasks.
    ledger: Database
    #: Connection pool for the event loop on which task bodies run.
    database: Database
    queues: Queues
    gateways: Mapping[type, Any]
    vault: Vault

    @classmethod
    def over(cls, settings: Settings, gateways: Mapping[type, Any], vault: Vault) -> Self:
        """Create the resources for the servers that the settings name. This opens no connection."""
        ledger = Database.for_recorder(settings.database_url, "worker")
        database = Database.for_tasks(settings.database_url, "worker-tasks")
        # Links the two pools: when the ledger pool leaves a primary that no longer answers, the
        # pool of task bodies cuts its connections to it too. A statement of a task body may take a
        # minute, so that pool alone would notice it too late.
        ledger.followed_by(database)
        return cls(ledger, database, Queues(connect(settings.redis_url)), gateways, vault)
