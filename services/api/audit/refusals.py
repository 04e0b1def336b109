"""Records what signed-in callers were not allowed to do: each route once a minute for each caller."""

import logging
from typing import Final, cast

from litestar import Request
from litestar.types import HTTPScope, Scope

from services.api.audit import trail
from services.api.audit.actions import Action
from services.api.audit.per_minute import PerMinute
from services.api.audit.trail import Target
from services.api.http.errors import NotAllowed
from services.api.http.refusals import RoleForbids, ScopeMissing, TaskRestricted
from services.api.identity import auth
from shared.errors import ServerUnavailable
from shared.ledger.database import Database

log = logging.getLogger(__name__)

#: The refusals that are recorded, by what their problem documents call them.
_KINDS: Final = {
    RoleForbids: RoleForbids.kind,
    ScopeMissing: ScopeMissing.kind,
    TaskRestricted: TaskRestricted.kind,
    NotAllowed: "not-allowed",
}

_LACKS = "account %s was refused %s, which the audit log lacks: %s"


class Refusals:
    """Sees every error that a request ends with."""

    def __init__(self, database: Database, per_minute: PerMinute) -> None:
        self._database = database
        self._per_minute = per_minute

    async def note(self, error: Exception, scope: Scope) -> None:
        """Called before the error is answered. The caller is refused in any case."""
        kind = _KINDS.get(type(error))
        if kind is None:
            return
        actor = auth.actor(Request(scope))
        route = f"{cast('HTTPScope', scope)['method']} {scope['path_template']}"
        if not self._per_minute.is_new(actor.account, route):
            return
        try:
            async with self._database.short_transaction():
                target, after = Target("route", route), {"refusal": kind}
                await trail.record(self._database, actor, Action.ACCESS_REFUSED, target, after=after)
        except ServerUnavailable as unavailable:
            log.warning(_LACKS, actor.account, route, unavailable)
        except Exception as unforeseen:
            # Here it would take the place of the refusal.
            log.exception(_LACKS, actor.account, route, unforeseen)
