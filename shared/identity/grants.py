"""What each service may do with accounts, sessions and keys.

Only the API reads passwords, tokens and keys, and no service changes a row of the audit log. The worker
deletes what is over, for which it sees when that was and nothing else.
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
        "session": ("SELECT (id, created_at, revoked_at)", "DELETE"),
        "refresh_token": ("SELECT (id, session, expires_at, spent_at)", "DELETE"),
        "account_confirmation": ("SELECT (token_hash, expires_at)", "DELETE"),
        "audit": ("SELECT (id)", "DELETE"),
    },
}
