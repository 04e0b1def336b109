"""Creates the tables of accounts and refresh tokens."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.sql_migration import in_sql

ID = "2026-11-22T12:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Accounts"

STATEMENTS = [
    """
    CREATE TABLE account (
        id bigserial PRIMARY KEY,
        email text NOT NULL UNIQUE CHECK (email = lower(email)),
        password_hash text NOT NULL,
        full_name text,
        is_active boolean NOT NULL DEFAULT true,
        is_admin boolean NOT NULL DEFAULT false,
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE refresh_token (
        id bigserial PRIMARY KEY,
        "user" bigint NOT NULL REFERENCES account (id) ON DELETE CASCADE,
        token_hash bytea NOT NULL UNIQUE,
        expires_at timestamptz NOT NULL,
        revoked_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    'CREATE INDEX refresh_token_user ON refresh_token ("user")',
]


async def forwards() -> MigrationManager:
    return in_sql(ID, "identity", DESCRIPTION, STATEMENTS)
