"""Piccolo's tables and the migrated schema say the same."""

import pytest
from piccolo.columns import Column
from piccolo.table import Table

from shared import applications
from shared.ledger import partitions
from shared.ledger.tables import TABLES
from tests.installed import INSTALLED
from tests.platform import Platform

TYPES = {
    "BIGSERIAL": "bigint",
    "TIMESTAMPTZ": "timestamp with time zone",
}


@pytest.mark.parametrize(
    "table", [*TABLES, *applications.tables(INSTALLED)], ids=lambda table: table._meta.tablename
)
async def test_a_table_has_the_columns_that_piccolo_expects(platform: Platform, table: type[Table]) -> None:
    rows = await platform.rows(
        "SELECT column_name, data_type, is_nullable FROM information_schema.columns WHERE table_name = {}",
        table._meta.tablename,
    )
    migrated = {r["column_name"]: (r["data_type"], r["is_nullable"] == "YES") for r in rows}
    expected = {c._meta.db_column_name: (_type_of(c), c._meta.null) for c in table._meta.columns}
    assert migrated == expected


def _type_of(column: Column) -> str:
    """As the information schema calls it."""
    kind = column.column_type.partition("(")[0]
    return "ARRAY" if kind.endswith("[]") else TYPES.get(kind, kind.lower())


async def test_partitions_stand_a_week_ahead(platform: Platform) -> None:
    rows = await platform.rows("SELECT inhparent::regclass::text AS parent FROM pg_inherits")
    parents = [row["parent"] for row in rows]
    for table in partitions.PARTITIONED:
        assert parents.count(table) == 9  # yesterday, today and the days to come
