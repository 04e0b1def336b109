"""Shows administrators the sensitive fields of other accounts on request, and records each access
in the audit log.
"""

from dataclasses import replace
from typing import Annotated

from litestar.params import QueryParameter

from services.api.audit import trail
from services.api.audit.actions import Action
from services.api.audit.trail import Target
from services.api.http.refusals import RoleForbids
from services.api.identity.rights import Reader
from shared.identity.tables import Role
from shared.ledger.database import Database

Unmask = Annotated[
    bool,
    QueryParameter(
        description="Show the sensitive fields of another account. Administrators only; the audit log "
        "records it"
    ),
]


async def unmasked(
    database: Database, reader: Reader, target: Target, owner: int | None, *, unmask: bool
) -> Reader:
    """Return the caller's rights, with access to this target's sensitive fields if `unmask` is set.
    Raises RoleForbids.
    """
    if not unmask or reader.may_unmask(owner):
        return reader
    if reader.role is not Role.ADMINISTRATOR:
        raise RoleForbids(reader.role, [Role.ADMINISTRATOR])
    async with database.short_transaction():
        await trail.record(database, reader.describe(), Action.UNMASKED, target, after={"owner": owner})
    return replace(reader, unmasks=True)
