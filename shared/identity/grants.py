"""What each service may do with accounts, sessions and keys.

Only the API reads what proves who somebody is. The worker deletes tokens and sessions that have ended, for
which it sees when they ended and nothing else.
"""

from shared.roles import API, WORKER, Grants

GRANTS: Grants = {
    API: {
        "account": ("SELECT", "INSERT", "UPDATE"),
        "session": ("SELECT", "INSERT", "UPDATE", "DELETE"),
        "refresh_token": ("SELECT", "INSERT", "UPDATE"),
        "api_key": ("SELECT", "INSERT", "UPDATE"),
        "login_failure": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    },
    WORKER: {
        "session": ("SELECT (id, created_at, revoked_at)", "DELETE"),
        "refresh_token": ("SELECT (id, session, expires_at, spent_at)", "DELETE"),
    },
}
