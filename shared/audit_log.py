"""Adds rows to the audit log, for the API and for the bulk operations that run in a worker."""

from collections.abc import Mapping
from typing import Any

import msgspec

from shared.ledger.statement import Statement

#: Adds a row to the audit log. It belongs in the same transaction as the action that it records.
RECORD = Statement("""
    INSERT INTO audit (actor, credential, credential_id, network, action, target_kind, target,
                       before, after, reason, request_id)
    VALUES (:actor, :credential, :credential_id, :network, :action, :target_kind, :target,
            :before::text::jsonb, :after::text::jsonb, :reason, :request_id)
""")


def document(values: Mapping[str, Any] | None) -> str | None:
    """Encode the changed values as JSON, for the columns `before` and `after` of the audit log."""
    return None if values is None else msgspec.json.encode(values, enc_hook=str).decode()
