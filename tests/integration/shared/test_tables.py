"""Tests that Piccolo's table classes match the migrated schema."""

from typing import Any

import asyncpg
import pytest
from piccolo.columns import Column
from piccolo.table import Table

from shared import applications
from shared.ledger import partitions
from shared.ledger.database import Database
from shared.ledger.tables import TABLES
from tests.installed import INSTALLED

#: Reads the columns of a table. $1: the table's name.
COLUMNS = "SELECT column_name, data_type, is_nullable FROM information_schema.columns WHERE table_name = $1"
ALL = [*TABLES, *applications.tables(INSTALLED)]
TYPES = {
    "BIGSERIAL": "bigint",
    "TIMESTAMPTZ": "timestamp with time zone",
}


@pytest.mark.parametrize("table", ALL, ids=lambda table: table._meta.tablename)
async def test_a_table_has_the_columns_that_piccolo_expects(migrated_url: str, table: type[Table]) -> None:
    # Connect the table classes to a database, because a column derives its type from the kind of
    # database.
    Database.for_service(migrated_url, "test").bind(ALL)
    rows = await _rows(migrated_url, COLUMNS, table._meta.tablename)
    migrated = {r["column_name"]: (r["data_type"], r["is_nullable"] == "YES") for r in rows}
    expected = {c._meta.db_column_name: (_type_of(c), c._meta.null) for c in table._meta.columns}
    assert migrated == expected


async def _rows(url: str, query: str, *values: str) -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(query, *values))
    finally:
        await connection.close()


def _type_of(column: Column) -> str:
    """SQL type of a column, spelled as in the information schema."""
    kind = column.column_type.partition("(")[0]
    return "ARRAY" if kind.endswith("[]") else TYPES.get(kind, kind.lower())


async def test_partitions_stand_a_week_ahead(migrated_url: str) -> None:
    rows = await _rows(migrated_url, "SELECT inhparent::regclass::text AS parent FROM pg_inherits")
    parents = [row["parent"] for row in rows]
    for table in partitions.PARTITIONED:
        # Partitions exist for yesterday, today and the next seven days.
        assert parents.count(table) == 9
