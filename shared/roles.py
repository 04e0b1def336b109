"""Names of the Postgres roles: one for each service, and the owner of the tables.

A Postgres server has each role only once, for all of its databases. `shared/postgres_roles.sql`
creates the roles. The `GRANTS` of the ledger, of identity and of the applications declare the
rights of each service (`shared.migration.grants`).
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

API = "often_api"
WORKER = "often_worker"
SCHEDULER = "often_scheduler"
#: Name of the Postgres role that owns the tables and migrates them. The leading scheduler switches
#: to this role to add and drop partitions.
OWNER = "often_migrate"

SERVICES = (API, WORKER, SCHEDULER)

#: Postgres privileges by role and table, written as in GRANT: `SELECT`, `UPDATE (status, send_at)`.
Grants: TypeAlias = Mapping[str, Mapping[str, Sequence[str]]]
