"""The rights in Postgres that each service has on accounts, sessions and keys.

Only the API reads passwords, tokens and keys. No service changes a row of the audit log. The worker
deletes expired rows and erases accounts, so it may read the owner of a row and the time at which
the row expires.
"""

from shared.roles import API, WORKER, Grants

GRANTS: Grants = {
    API: {
        "account": ("SELECT", "INSERT", "UPDATE"),
        "session": ("SELECT", "INSERT", "UPDATE", "DELETE"),
        "refresh_token": ("SELECT", "INSERT", "UPDATE"),
        "api_key": ("SELECT", "INSERT", "UPDATE"),
        "login_failure": ("SELECT", "INSERT", "UPDATE", "DELETE"),
        "account_confirmation": ("SELECT", "INSERT", "UPDATE"),
        "audit": ("SELECT", "INSERT"),
    },
    WORKER: {
        "account": ("SELECT (id, email, role, is_active, erasure_task)", "DELETE"),
        "session": ("SELECT (id, user, network, created_at, revoked_at, ctid)", "DELETE"),
        "refresh_token": ("SELECT (id, session, expires_at, spent_at)", "DELETE"),
        "account_confirmation": ("SELECT (token_hash, user, expires_at, ctid)", "DELETE"),
        "api_key": ("SELECT (id, user, revoked_at, ctid)", "DELETE"),
        "login_failure": ("SELECT (address_hash, forget_at)", "DELETE"),
        "audit": ("SELECT (id)", "INSERT", "DELETE"),
    },
}
