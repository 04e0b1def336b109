"""Grants the declared rights on tables to each service's role in Postgres, and revokes all others.

The rights are declared by the `GRANTS` of the ledger, of identity and of the applications. Rights
that are already correct are not touched, so a run without changes writes nothing.
"""

import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import asyncpg

from shared.errors import MigrationError
from shared.roles import SERVICES, Grants

log = logging.getLogger(__name__)

_PRIVILEGE = re.compile(r"(SELECT|INSERT|UPDATE|DELETE)(?: \(([a-z_, ]+)\))?")

ROLES = "SELECT rolname FROM pg_roles WHERE rolname = ANY ($1::text[])"
#: Reads every table of the schema, and the sequences that its columns own.
TABLES = """
    SELECT c.relname AS name, array_remove(array_agg(s.relname), NULL) AS sequences
    FROM pg_class AS c
    LEFT JOIN pg_depend AS d ON d.refobjid = c.oid AND d.refclassid = 'pg_class'::regclass
        AND d.classid = 'pg_class'::regclass AND d.deptype = 'a'
    LEFT JOIN pg_class AS s ON s.oid = d.objid AND s.relkind = 'S'
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
    GROUP BY c.relname
"""
#: Reads the rights of the given roles on tables, columns and sequences. Placeholders: roles.
GIVEN = """
    SELECT grantee::regrole::text AS role, kind, name, privilege_type AS privilege, "column" FROM (
        SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, relname AS name,
               (aclexplode(relacl)).*, NULL AS "column"
        FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S')
        UNION ALL
        SELECT 'TABLE', relname, (aclexplode(attacl)).*, attname::text
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        WHERE relnamespace = current_schema()::regnamespace AND NOT attisdropped
    ) AS given
    WHERE grantee IN (SELECT oid FROM pg_roles WHERE rolname = ANY ($1::text[]))
"""


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One privilege of a role on a table, a column or a sequence."""

    role: str
    #: Kind of the object: TABLE or SEQUENCE.
    kind: str
    name: str
    privilege: str
    #: Name of the column to which the right is limited; empty for a right on the whole table.
    column: str = ""

    @property
    def _what(self) -> str:
        column = f' ("{self.column}")' if self.column else ""
        return f'{self.privilege}{column} ON {self.kind} "{self.name}"'

    @property
    def grant(self) -> str:
        return f"GRANT {self._what} TO {self.role}"

    @property
    def revoke(self) -> str:
        return f"REVOKE {self._what} FROM {self.role}"


def rights(declared: Iterable[Grants]) -> set[Right]:
    """Return every declared right.

    If a right is limited to columns, there is one for each column. Raises MigrationError for an
    invalid declaration.
    """
    return {
        right
        for grants in declared
        for role, tables in grants.items()
        for table, privileges in tables.items()
        for written in privileges
        for right in _read(role, table, written)
    }


def _read(role: str, table: str, written: str) -> Iterator[Right]:
    found = _PRIVILEGE.fullmatch(written)
    if role not in SERVICES or not found:
        rule = f"must be SELECT, INSERT, UPDATE or DELETE for one of {', '.join(SERVICES)}"
        raise MigrationError(f"grants: {written!r} on {table} for {role} {rule}; correct GRANTS")
    for column in (found[2] or "").split(","):
        yield Right(role, "TABLE", table, found[1], column.strip())


async def apply(connection: asyncpg.Connection, declared: Iterable[Grants]) -> None:
    """Set the rights of the existing roles to the declared ones, in one transaction.

    Raises MigrationError for a declared table that no migration has created.
    """
    roles = {row["rolname"] for row in await connection.fetch(ROLES, list(SERVICES))}
    if missing := [role for role in SERVICES if role not in roles]:
        log.info(
            "grants: the roles %s do not exist, so services need the role that migrates; "
            "shared/postgres_roles.sql creates them, see docs/operations.md#roles",
            ", ".join(missing),
        )
    sequences = {row["name"]: row["sequences"] for row in await connection.fetch(TABLES)}
    wanted = {right for right in rights(declared) if right.role in roles}
    if unknown := sorted({right.name for right in wanted} - sequences.keys()):
        raise MigrationError(
            f"grants: no migration creates {', '.join(unknown)}; correct GRANTS or add the migration"
        )
    wanted |= {
        Right(right.role, "SEQUENCE", sequence, "USAGE")
        for right in wanted
        if right.privilege == "INSERT"
        for sequence in sequences[right.name]
    }
    given = {
        Right(row["role"], row["kind"], row["name"], row["privilege"], row["column"] or "")
        for row in await connection.fetch(GIVEN, sorted(roles))
    }
    await _change(connection, wanted - given, given - wanted)


async def _change(connection: asyncpg.Connection, added: set[Right], removed: set[Right]) -> None:
    if not added and not removed:
        return
    async with connection.transaction():
        for right in sorted(removed):
            await connection.execute(right.revoke)
        for right in sorted(added):
            await connection.execute(right.grant)
    log.info("grants: %d rights granted to the service roles, %d revoked", len(added), len(removed))
