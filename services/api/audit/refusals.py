"""Records requests that were refused for lack of rights in the audit log: each route at most once
per minute and caller.
"""

import logging
from typing import Final, cast

from litestar import Request
from litestar.types import HTTPScope, Scope

from services.api.audit import trail
from services.api.audit.actions import Action
from services.api.audit.actor import Actor
from services.api.audit.per_minute import PerMinute
from services.api.audit.trail import Target
from services.api.http.errors import NotAllowed
from services.api.http.refusals import RoleForbids, ScopeMissing, TaskRestricted
from services.api.identity import auth
from shared.errors import ServerUnavailable
from shared.ledger.database import Database

log = logging.getLogger(__name__)

#: The errors that are recorded as refusals, mapped to their types in problem documents.
_KINDS: Final = {
    RoleForbids: RoleForbids.kind,
    ScopeMissing: ScopeMissing.kind,
    TaskRestricted: TaskRestricted.kind,
    NotAllowed: "not-allowed",
}

_LACKS = "a request was refused, but the audit log could not record it: %s"


class Refusals:
    """Receives every error that ends a request, and records refusals in the audit log."""

    def __init__(self, database: Database, per_minute: PerMinute) -> None:
        self._database = database
        self._per_minute = per_minute

    async def note(self, error: Exception, scope: Scope) -> None:
        """Record the error in the audit log if it is a refusal for lack of rights. A failure to
        record it is logged and not raised, so that the request is answered in any case.
        """
        kind = _KINDS.get(type(error))
        if kind is None:
            return
        fields: dict[str, object] = {"refusal": kind}
        try:
            actor = auth.actor(Request(scope))
            route = f"{cast('HTTPScope', scope)['method']} {scope['path_template']}"
            fields |= {"account": actor.account, "route": route}
            if self._per_minute.is_new(actor.account, route):
                await self._record(actor, route, kind)
        except ServerUnavailable as unavailable:
            log.warning(_LACKS, unavailable, extra=fields)
        except Exception as unforeseen:
            # The error is only logged. If it were raised, it would replace the refusal in the
            # answer.
            log.exception(_LACKS, unforeseen, extra=fields)

    async def _record(self, actor: Actor, route: str, kind: str) -> None:
        async with self._database.short_transaction():
            target, after = Target("route", route), {"refusal": kind}
            await trail.record(self._database, actor, Action.ACCESS_REFUSED, target, after=after)
