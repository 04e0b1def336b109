"""Building blocks for migrations that run while the services work.

Each step can be repeated: if a run was interrupted, the next run completes it. A migration passes
its list of steps to `in_steps`. docs/upgrading.md says when to use which step.
"""

import logging
from dataclasses import dataclass
from typing import Protocol

import asyncpg

from shared.migration.session import Session

log = logging.getLogger(__name__)

#: Maximum length of an index name. Postgres truncates longer names.
MAX_NAME = 63

PARTITIONED = "SELECT relkind = 'p' AS partitioned FROM pg_class WHERE oid = $1::text::regclass"
PARTITIONS = """
    SELECT inhrelid::regclass::text AS name FROM pg_inherits
    WHERE inhparent = $1::text::regclass AND NOT inhdetachpending ORDER BY 1
"""
#: SQL that reads the partitions of a table which have no part of a partitioned index yet. Its
#: parameters are the table and the index.
WITHOUT_INDEX = """
    SELECT i.inhrelid::regclass::text AS name FROM pg_inherits AS i
    WHERE i.inhparent = $1::text::regclass AND NOT i.inhdetachpending AND NOT EXISTS (
        SELECT 1 FROM pg_index AS x JOIN pg_inherits AS part ON part.inhrelid = x.indexrelid
        WHERE x.indrelid = i.inhrelid AND part.inhparent = $2::text::regclass)
    ORDER BY 1
"""
#: SQL that reads whether an index has been built completely. It returns no row if the index does
#: not exist.
INDEX = "SELECT indisvalid AS complete FROM pg_index WHERE indexrelid = to_regclass($1::text)"
CONSTRAINT = "SELECT 1 FROM pg_constraint WHERE conrelid = $1::text::regclass AND conname = $2::text"
#: SQL that returns a row if Postgres has not checked the existing rows against a constraint yet.
UNVALIDATED = f"{CONSTRAINT} AND NOT convalidated"


class Step(Protocol):
    """One step of a migration. It can be repeated at any time."""

    async def run(self, session: Session) -> None:
        """Apply this step to the database. Raises MigrationError."""


@dataclass(frozen=True, kw_only=True)
class Brief:
    """A statement that holds a strong lock for a short time only. It must be safe to repeat."""

    sql: str

    async def run(self, session: Session) -> None:
        await session.brief(self.sql)


@dataclass(frozen=True, kw_only=True)
class AddColumn:
    """Adds a column that INSERTs of the previous release can omit: it is nullable or has a constant
    default.
    """

    table: str
    name: str
    #: The definition of the column as in CREATE TABLE: its type, its default and so on.
    definition: str

    def __post_init__(self) -> None:
        words = self.definition.upper()
        if "NOT NULL" in words and "DEFAULT" not in words:
            rule = "is NOT NULL and has no DEFAULT: the previous release could insert no row"
            raise ValueError(f"{self.table}.{self.name} {rule}")

    async def run(self, session: Session) -> None:
        await session.brief(
            f"ALTER TABLE {self.table} ADD COLUMN IF NOT EXISTS {self.name} {self.definition}"
        )


@dataclass(frozen=True, kw_only=True)
class DropColumn:
    """Removes a column that the previous release neither reads nor writes."""

    table: str
    name: str

    async def run(self, session: Session) -> None:
        await session.brief(f"ALTER TABLE {self.table} DROP COLUMN IF EXISTS {self.name}")


@dataclass(frozen=True, kw_only=True)
class AddConstraint:
    """Adds a constraint that applies to new rows immediately, and to existing rows after a check
    that blocks no session.
    """

    table: str
    name: str
    #: The rule of the constraint: `CHECK (…)`, `NOT NULL column` or `FOREIGN KEY (…) REFERENCES …`.
    definition: str

    async def run(self, session: Session) -> None:
        if not await session.fetch(CONSTRAINT, self.table, self.name):
            await session.brief(
                f"ALTER TABLE {self.table} ADD CONSTRAINT {self.name} {self.definition} NOT VALID"
            )
        # The partitions are validated before the parent table, because then each one is locked only
        # while its own rows are read, and the parent has nothing left to validate.
        partitions = [row["name"] for row in await session.fetch(PARTITIONS, self.table)]
        for table in [*partitions, self.table]:
            if await session.fetch(UNVALIDATED, table, self.name):
                await session.long(f"ALTER TABLE {table} VALIDATE CONSTRAINT {self.name}")


@dataclass(frozen=True, kw_only=True)
class CreateIndex:
    """Builds an index without blocking writes to its table. On a partitioned table, it is built for
    one partition at a time.
    """

    name: str
    table: str
    #: The rest of CREATE INDEX after the name of the table, such as `(owner, id) WHERE owner IS NOT
    #: NULL`.
    on: str
    unique: bool = False

    async def run(self, session: Session) -> None:
        (found,) = await session.fetch(PARTITIONED, self.table)
        if found["partitioned"]:
            await self._build_parts(session)
        else:
            await self._build(session, self.name, self.table)

    async def _build_parts(self, session: Session) -> None:
        # The index of the parent table is incomplete until each existing partition has a part of
        # it. Partitions that are created from now on get their part automatically.
        await session.brief(self._create(f"IF NOT EXISTS {self.name} ON ONLY {self.table}"))
        while missing := await session.fetch(WITHOUT_INDEX, self.table, self.name):
            for number, row in enumerate(missing, 1):
                fields = {"index": self.name, "partition": row["name"]}
                log.info("building an index: partition %d of %d", number, len(missing), extra=fields)
                await self._add_part(session, row["name"])

    async def _add_part(self, session: Session, partition: str) -> None:
        part = self._part(partition)
        try:
            await self._build(session, part, partition)
            await session.brief(f"ALTER INDEX {self.name} ATTACH PARTITION {part}")
        except asyncpg.PostgresError:
            # An error is expected if the cleanup of old days has dropped the partition in the
            # meantime.
            if partition in {row["name"] for row in await session.fetch(PARTITIONS, self.table)}:
                raise

    async def _build(self, session: Session, name: str, table: str) -> None:
        found = await session.fetch(INDEX, name)
        if found and not found[0]["complete"]:
            # An incomplete index was left by an interrupted run, so it is dropped and built again.
            await session.long(f"DROP INDEX CONCURRENTLY {name}")
        if not found or not found[0]["complete"]:
            await session.long(self._create(f"CONCURRENTLY {name} ON {table}"))

    def _create(self, what: str) -> str:
        return f"CREATE {'UNIQUE ' if self.unique else ''}INDEX {what} {self.on}"

    def _part(self, partition: str) -> str:
        """The name of the index on one partition. Raises ValueError if it is too long."""
        part = f"{partition}_{self.name.removeprefix(f'{self.table}_')}"
        if len(part) > MAX_NAME:
            raise ValueError(
                f"the index name {part} is longer than {MAX_NAME} characters: shorten {self.name}"
            )
        return part
