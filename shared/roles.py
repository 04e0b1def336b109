"""Names of the roles in Postgres: one for each service, and the owner of the tables.

A cluster has them once, whatever databases are in it. `shared/postgres_roles.sql` creates them, and `GRANTS`
of ledger, identity and applications say what each service may do (`shared.migration.grants`).
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

API = "often_api"
WORKER = "often_worker"
SCHEDULER = "often_scheduler"
#: Owns the tables and migrates them. The leading scheduler takes this role to add and drop partitions.
OWNER = "often_migrate"

SERVICES = (API, WORKER, SCHEDULER)

#: Privileges by role and table, each written as in GRANT: `SELECT`, `UPDATE (status, send_at)`.
Grants: TypeAlias = Mapping[str, Mapping[str, Sequence[str]]]
