"""Checks whether the account that started a bulk operation may still carry it out."""

from uuid import UUID

from shared.bulk import act
from shared.contracts.context import Sql
from shared.identity.tables import Role
from shared.ledger.statement import Statement

#: Reads the role of the account that started a bulk operation. Returns no row if the account is
#: inactive or being erased, or if the API key that it used was revoked. Whether its session is
#: closed does not matter, because a bulk operation continues after its operator has signed out.
ROLE = Statement("""
    SELECT a.role FROM account AS a
    WHERE a.id = :account AND a.is_active AND a.erasure_task IS NULL AND NOT EXISTS (
        SELECT 1 FROM api_key AS k WHERE k.id = :credential_id::uuid AND k.revoked_at IS NOT NULL
    )
""")


async def role_of(database: Sql, account: int, credential_id: UUID | None, action: str) -> Role | None:
    """Return the account's role, or None if the account may no longer perform this action."""
    rows = await database.run(ROLE, account=account, credential_id=credential_id)
    return Role(rows[0]["role"]) if rows and act.may(rows[0]["role"], action) else None
