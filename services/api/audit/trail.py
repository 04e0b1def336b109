"""Writes a row to the audit log for each action, in the transaction of the action.

The action and its row are committed together, so neither exists without the other. Rows name
accounts and objects by id. They contain no password, token, sealed value or mail address.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple

from services.api.audit.actor import Actor
from shared import audit_log
from shared.ledger.database import Database

#: The names of the actions that the request in progress has recorded: the list that `collected`
#: returned for it. None outside a request.
_acts: ContextVar[list[str] | None] = ContextVar("acts", default=None)


class Target(NamedTuple):
    """The object that an action concerned, as the audit log identifies it."""

    #: Kind of the object: "account", "session", "key", "task", "workflow", "schedule", "queue",
    #: "worker", "error", "route", or a kind that an application defines.
    kind: str
    id: object


async def record(
    database: Database,
    actor: Actor,
    action: str,
    target: Target | None = None,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    reason: str | None = None,
) -> None:
    """Write one row inside the transaction of the action, which the caller has begun.

    `action` is an `Action` or a name that an application defines. `before` and `after` contain the
    changed values. Raises RuntimeError outside a transaction, and ServerUnavailable.
    """
    if not database.in_transaction():
        raise RuntimeError(f"{action} is recorded outside a transaction: begin one around the action")
    await database.run(
        audit_log.RECORD,
        actor=actor.account,
        credential=actor.credential,
        credential_id=actor.credential_id,
        network=actor.network or None,
        action=str(action),
        target_kind=target.kind if target else None,
        target=str(target.id) if target else None,
        before=audit_log.document(before),
        after=audit_log.document(after),
        reason=reason,
        request_id=actor.request_id,
    )
    if (acts := _acts.get()) is not None:
        acts.append(str(action))


def collected() -> list[str]:
    """Return a new list, to which the name of each action recorded during this request is added.
    Call it at the beginning of a request.
    """
    acts: list[str] = []
    _acts.set(acts)
    return acts
