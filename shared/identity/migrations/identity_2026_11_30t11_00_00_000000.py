"""Adds the confirmation of mail addresses by their owners.

Existing accounts count as verified, because they got mail before and had no way to confirm their
address. The default of the column is then removed, so that a new account is not verified. While two
releases run, accounts that the previous release creates are not verified either. Their owners can
request a confirmation mail with POST /api/v1/auth/me/verification.
"""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.migration.steps import AddColumn, Brief, CreateIndex, Step
from shared.sql_migration import in_steps

ID = "2026-11-30T11:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Verified addresses"

STEPS: list[Step] = [
    AddColumn(table="account", name="verified_at", definition="timestamptz DEFAULT now()"),
    Brief(sql="ALTER TABLE account ALTER COLUMN verified_at DROP DEFAULT"),
    Brief(
        sql="""
        CREATE TABLE IF NOT EXISTS account_confirmation (
            token_hash bytea PRIMARY KEY,
            "user" bigint NOT NULL REFERENCES account (id) ON DELETE CASCADE,
            email text NOT NULL CHECK (email = lower(email)),
            created_at timestamptz NOT NULL DEFAULT now(),
            expires_at timestamptz NOT NULL,
            used_at timestamptz
        )
        """
    ),
    CreateIndex(name="account_confirmation_user", table="account_confirmation", on='("user", created_at)'),
    CreateIndex(name="account_confirmation_email", table="account_confirmation", on="(email, created_at)"),
]


async def forwards() -> MigrationManager:
    return in_steps(ID, "identity", DESCRIPTION, STEPS)
