"""A command that creates the first administrator.

Run `ADMIN_PASSWORD=… python -m services.api.identity.administrator --email …`.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Iterable

import msgspec

from services.api.audit.actor import Actor
from services.api.identity import accounts
from services.api.identity.account_schemas import Registration
from services.api.identity.passwords import Passwords
from shared import settings
from shared.contracts import broken_rules
from shared.errors import InvalidFields, ServerUnavailable, SettingsError
from shared.identity.tables import Role
from shared.ledger.database import Database


async def ensure_administrator(
    database: Database, email: str, password: str, refused_words: Iterable[str] = ()
) -> bool:
    """Create the administrator's account, unless an account with this address exists. Returns True
    if it was created. Raises InvalidFields or ServerUnavailable.
    """
    given = {"email": email, "password": password}
    try:
        new = msgspec.convert(given, Registration)
    except msgspec.ValidationError:
        raise InvalidFields(broken_rules.find(given, Registration, "")) from None
    passwords = Passwords()
    try:
        prepared = await accounts.prepare(passwords, new, refused_words=refused_words)
    finally:
        passwords.close()
    # The address counts as confirmed without a mail, because an operator who can run this command
    # could also write to the database directly.
    async with database.short_transaction():
        made = await accounts.store(
            database, prepared, Actor.of_command_line(), verified=True, role=Role.ADMINISTRATOR
        )
    return made is not None


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Create an administrator; the password is read from ADMIN_PASSWORD."
    )
    parser.add_argument("--email", required=True)
    email = parser.parse_args().email
    try:
        read = settings.read(os.environ, needs=("database_url",))
        database = Database.for_service(read.database_url, "administrator")
        password, words = os.environ.get("ADMIN_PASSWORD", ""), read.refused_words()
        created = asyncio.run(ensure_administrator(database, email, password, words))
    except (SettingsError, InvalidFields) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    except ServerUnavailable as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
    sys.stderr.write(f"{email} {'is an administrator now' if created else 'has an account already'}\n")


if __name__ == "__main__":
    main()
