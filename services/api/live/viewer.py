"""The viewer of an event stream, and the check whether it may still see the stream."""

import time
from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import UUID

from litestar import Request

from shared.identity.tables import Role
from shared.ledger.database import Database
from shared.ledger.statement import Statement

#: Finds the viewers that have lost their rights: the role has changed, the account is inactive, the
#: session has ended, or the API key is unusable.
_OVER = Statement("""
    SELECT g.number FROM unnest(:account::bigint[], :role::text[], :session::uuid[], :key::uuid[])
        WITH ORDINALITY AS g(account, role, session, key, number)
    WHERE NOT EXISTS (
        SELECT FROM account AS a WHERE a.id = g.account AND a.is_active AND a.role = g.role AND (
            EXISTS (SELECT FROM session AS s WHERE s.id = g.session AND s.revoked_at IS NULL
                    AND s.created_at > now() - make_interval(secs => :session_life_s))
            OR EXISTS (SELECT FROM api_key AS k
                       WHERE k.id = g.key AND k.revoked_at IS NULL AND k.expires_at > now()))
    )
""")


class Viewer(NamedTuple):
    """The signed-in caller that reads an event stream. Either `session` or `key` is set."""

    account: int
    role: Role
    session: UUID | None
    key: UUID | None
    #: Time at which the access token expires, in seconds since 1970; None for an API key.
    expires_at: float | None

    def has_expired(self) -> bool:
        return self.expires_at is not None and time.time() >= self.expires_at


def of(request: Request[Any, Any, Any]) -> Viewer:
    """Return the viewer for a signed-in request."""
    user, shown = request.user, request.auth
    return Viewer(user.id, user.role, shown.session, shown.key, shown.expires_at)


async def over(database: Database, viewers: Iterable[Viewer], session_life_s: float) -> set[Viewer]:
    """Find the viewers that have lost their rights. Raises ServerUnavailable."""
    asked = list(dict.fromkeys(viewers))
    if not asked:
        return set()
    rows = await database.run(
        _OVER,
        account=[each.account for each in asked],
        role=[each.role.value for each in asked],
        session=[each.session for each in asked],
        key=[each.key for each in asked],
        session_life_s=session_life_s,
    )
    return {asked[row["number"] - 1] for row in rows}
