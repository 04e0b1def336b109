"""Building blocks of migrations that run while the services work.

Each block may run again: it finds what an interrupted run has left and completes it. `in_steps` puts them
together; docs/upgrading.md says when to use which.
"""

import logging
from dataclasses import dataclass
from typing import Protocol

import asyncpg

from shared.migration.session import Session

log = logging.getLogger(__name__)

#: Postgres cuts longer names.
MAX_NAME = 63

PARTITIONED = "SELECT relkind = 'p' AS partitioned FROM pg_class WHERE oid = $1::text::regclass"
PARTITIONS = """
    SELECT inhrelid::regclass::text AS name FROM pg_inherits
    WHERE inhparent = $1::text::regclass AND NOT inhdetachpending ORDER BY 1
"""
#: Partitions whose part of an index is not attached to it. values: table, index.
WITHOUT_INDEX = """
    SELECT i.inhrelid::regclass::text AS name FROM pg_inherits AS i
    WHERE i.inhparent = $1::text::regclass AND NOT i.inhdetachpending AND NOT EXISTS (
        SELECT 1 FROM pg_index AS x JOIN pg_inherits AS part ON part.inhrelid = x.indexrelid
        WHERE x.indrelid = i.inhrelid AND part.inhparent = $2::text::regclass)
    ORDER BY 1
"""
#: Whether an index is complete; no row when there is none of this name.
INDEX = "SELECT indisvalid AS complete FROM pg_index WHERE indexrelid = to_regclass($1::text)"
CONSTRAINT = "SELECT 1 FROM pg_constraint WHERE conrelid = $1::text::regclass AND conname = $2::text"
#: A row when the constraint was not checked against old rows yet.
UNVALIDATED = f"{CONSTRAINT} AND NOT convalidated"


class Step(Protocol):
    """One step of a migration. It may run again at any time."""

    async def run(self, session: Session) -> None:
        """Bring the database to where this step leads. Raises MigrationError."""


@dataclass(frozen=True, kw_only=True)
class Brief:
    """One statement that needs a strong lock for a moment only. Write it so that it may run again."""

    sql: str

    async def run(self, session: Session) -> None:
        await session.brief(self.sql)


@dataclass(frozen=True, kw_only=True)
class AddColumn:
    """A column that the previous release can leave out: it may be null or has a constant default."""

    table: str
    name: str
    #: Type, default and so on, as in CREATE TABLE.
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
    """Contract: remove a column that the previous release neither reads nor writes."""

    table: str
    name: str

    async def run(self, session: Session) -> None:
        await session.brief(f"ALTER TABLE {self.table} DROP COLUMN IF EXISTS {self.name}")


@dataclass(frozen=True, kw_only=True)
class AddConstraint:
    """A constraint that holds for new rows at once, and for old rows after a check that blocks no session."""

    table: str
    name: str
    #: `CHECK (…)`, `NOT NULL column` or `FOREIGN KEY (…) REFERENCES …`.
    definition: str

    async def run(self, session: Session) -> None:
        if not await session.fetch(CONSTRAINT, self.table, self.name):
            await session.brief(
                f"ALTER TABLE {self.table} ADD CONSTRAINT {self.name} {self.definition} NOT VALID"
            )
        # Partitions first: each is locked for as long as its own rows are read. The table then has none left.
        partitions = [row["name"] for row in await session.fetch(PARTITIONS, self.table)]
        for table in [*partitions, self.table]:
            if await session.fetch(UNVALIDATED, table, self.name):
                await session.long(f"ALTER TABLE {table} VALIDATE CONSTRAINT {self.name}")


@dataclass(frozen=True, kw_only=True)
class CreateIndex:
    """An index that is built while rows are written; on a partitioned table, one partition at a time."""

    name: str
    table: str
    #: What follows the table in CREATE INDEX: `(owner, id) WHERE owner IS NOT NULL`.
    on: str
    unique: bool = False

    async def run(self, session: Session) -> None:
        (found,) = await session.fetch(PARTITIONED, self.table)
        if found["partitioned"]:
            await self._build_parts(session)
        else:
            await self._build(session, self.name, self.table)

    async def _build_parts(self, session: Session) -> None:
        # Incomplete until each partition has its part. Partitions that are added from now on bring theirs.
        await session.brief(self._create(f"IF NOT EXISTS {self.name} ON ONLY {self.table}"))
        while missing := await session.fetch(WITHOUT_INDEX, self.table, self.name):
            for number, row in enumerate(missing, 1):
                log.info("index %s: partition %s, %d of %d", self.name, row["name"], number, len(missing))
                await self._add_part(session, row["name"])

    async def _add_part(self, session: Session, partition: str) -> None:
        part = self._part(partition)
        try:
            await self._build(session, part, partition)
            await session.brief(f"ALTER INDEX {self.name} ATTACH PARTITION {part}")
        except asyncpg.PostgresError:
            # The clean-up may have removed the day meanwhile.
            if partition in {row["name"] for row in await session.fetch(PARTITIONS, self.table)}:
                raise

    async def _build(self, session: Session, name: str, table: str) -> None:
        found = await session.fetch(INDEX, name)
        if found and not found[0]["complete"]:
            await session.long(f"DROP INDEX CONCURRENTLY {name}")  # an interrupted run has left it
        if not found or not found[0]["complete"]:
            await session.long(self._create(f"CONCURRENTLY {name} ON {table}"))

    def _create(self, what: str) -> str:
        return f"CREATE {'UNIQUE ' if self.unique else ''}INDEX {what} {self.on}"

    def _part(self, partition: str) -> str:
        """Name of a partition's index. Raises ValueError."""
        part = f"{partition}_{self.name.removeprefix(f'{self.table}_')}"
        if len(part) > MAX_NAME:
            raise ValueError(
                f"the index name {part} is longer than {MAX_NAME} characters: shorten {self.name}"
            )
        return part
