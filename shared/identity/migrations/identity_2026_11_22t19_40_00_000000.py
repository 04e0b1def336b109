"""Adds sessions with several refresh tokens, API keys, and counts of failed sign-ins."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.sql_migration import in_sql

ID = "2026-11-22T19:40:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Sessions, API keys, login failures"

STATEMENTS = [
    """
    CREATE TABLE session (
        id uuid PRIMARY KEY DEFAULT uuidv7(),
        "user" bigint NOT NULL REFERENCES account (id) ON DELETE CASCADE,
        created_at timestamptz NOT NULL DEFAULT now(),
        revoked_at timestamptz
    )
    """,
    # Until this migration, it was not stored which refresh tokens belong to the same sign-in. Each
    # token therefore becomes a separate session.
    "ALTER TABLE refresh_token ADD COLUMN session uuid NOT NULL DEFAULT uuidv7()",
    """
    INSERT INTO session (id, "user", created_at, revoked_at)
    SELECT session, "user", created_at, revoked_at FROM refresh_token
    """,
    """
    ALTER TABLE refresh_token
        ALTER COLUMN session DROP DEFAULT,
        ADD FOREIGN KEY (session) REFERENCES session (id) ON DELETE CASCADE,
        DROP COLUMN "user"
    """,
    "ALTER TABLE refresh_token RENAME COLUMN revoked_at TO spent_at",
    "CREATE INDEX refresh_token_session ON refresh_token (session)",
    'CREATE INDEX session_of_user ON session ("user")',
    """
    CREATE TABLE api_key (
        id uuid PRIMARY KEY DEFAULT uuidv7(),
        "user" bigint NOT NULL REFERENCES account (id) ON DELETE CASCADE,
        name text NOT NULL,
        secret_hash bytea NOT NULL,
        scopes text[] NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz NOT NULL,
        last_used_at timestamptz,
        revoked_at timestamptz
    )
    """,
    'CREATE INDEX api_key_user ON api_key ("user", id)',
    """
    CREATE TABLE login_failure (
        address_hash bytea PRIMARY KEY,
        failed_at timestamptz[] NOT NULL,
        locks integer NOT NULL,
        locked_until timestamptz,
        forget_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX login_failure_forget_at ON login_failure (forget_at)",
    # This index serves searches for the beginning of a text, such as LIKE 'ann%', under every
    # collation.
    "CREATE INDEX account_email_prefix ON account (email text_pattern_ops)",
]


async def forwards() -> MigrationManager:
    return in_sql(ID, "identity", DESCRIPTION, STATEMENTS)
