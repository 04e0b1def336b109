"""Writes the audit log: a row for each act, in the transaction of the act.

The act and its row are committed together, so neither exists without the other. Rows hold ids only: no
password, token, sealed value or address of a person.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple

import msgspec

from services.api.audit.actor import Actor
from shared.ledger.database import Database
from shared.ledger.statement import Statement

_RECORD = Statement("""
    INSERT INTO audit (actor, credential, credential_id, network, action, target_kind, target,
                       before, after, reason, request_id)
    VALUES (:actor, :credential, :credential_id, :network, :action, :target_kind, :target,
            :before::text::jsonb, :after::text::jsonb, :reason, :request_id)
""")


#: What `collected` returns, where a request is under way.
_acts: ContextVar[list[str] | None] = ContextVar("acts", default=None)


class Target(NamedTuple):
    """What an act changed."""

    #: "account", "session", "key", "task", "workflow", "schedule", "queue", "worker", "route", or a word of
    #: an application.
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
    """Write one row inside the transaction of the act, which the caller has begun.

    `action` is an `Action`, or a name of an application. `before` and `after` hold what the act changed.
    Raises RuntimeError outside a transaction, and ServerUnavailable.
    """
    if not database.in_transaction():
        raise RuntimeError(f"{action} is recorded outside a transaction: begin one around the act")
    await database.run(
        _RECORD,
        actor=actor.account,
        credential=actor.credential,
        credential_id=actor.credential_id,
        network=actor.network or None,
        action=str(action),
        target_kind=target.kind if target else None,
        target=str(target.id) if target else None,
        before=_json(before),
        after=_json(after),
        reason=reason,
        request_id=actor.request_id,
    )
    if (acts := _acts.get()) is not None:
        acts.append(str(action))


def collected() -> list[str]:
    """For the beginning of a request: the list to which each act is added that the request records."""
    acts: list[str] = []
    _acts.set(acts)
    return acts


def _json(values: Mapping[str, Any] | None) -> str | None:
    return None if values is None else msgspec.json.encode(values, enc_hook=str).decode()
