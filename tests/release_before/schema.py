"""What a release relies on in the database schema: columns and rules, read from a migrated
database.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import asyncpg

FILE = Path(__file__).parent / "schema.json"
#: SQL statements of the previous release, one per line. They were logged by Postgres
#: (`log_statement = all`) while that release's processes ran tasks and answered requests.
STATEMENTS = Path(__file__).parent / "statements.sql"

OWN = "c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
#: Reads the columns of all tables. `optional` means that an INSERT may leave the column out.
COLUMNS = f"""
    SELECT c.relname AS "table", a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
           a.attnotnull AS required, NOT a.attnotnull OR a.atthasdef OR a.attidentity <> '' AS optional
    FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
    WHERE {OWN} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY c.relname, a.attname
"""
#: Reads the constraints that may refuse a row. NOT NULL is left out, because it is read with the
#: columns.
RULES = f"""
    SELECT c.relname AS "table", r.conname AS name, pg_get_constraintdef(r.oid) AS definition
    FROM pg_constraint AS r JOIN pg_class AS c ON c.oid = r.conrelid WHERE {OWN} AND r.contype <> 'n'
    UNION ALL
    SELECT c.relname, x.indexrelid::regclass::text, pg_get_indexdef(x.indexrelid)
    FROM pg_index AS x JOIN pg_class AS c ON c.oid = x.indrelid
    WHERE {OWN} AND x.indisunique AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = x.indexrelid)
    ORDER BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns and rules of a database schema, both by `table.name`."""

    columns: dict[str, dict[str, Any]]
    rules: dict[str, str]

    @classmethod
    async def of(cls, connection: asyncpg.Connection) -> Self:
        """Read the schema of a database: its columns and rules."""
        columns, rules = await connection.fetch(COLUMNS), await connection.fetch(RULES)
        return cls(
            {
                f"{row['table']}.{row['name']}": {key: row[key] for key in ("type", "required", "optional")}
                for row in columns
            },
            {f"{row['table']}.{row['name']}": row["definition"] for row in rules},
        )

    @classmethod
    def recorded(cls) -> Self:
        """The schema that was recorded for the previous release."""
        return cls(**json.loads(FILE.read_text()))

    def record(self) -> None:
        parts = [f"{json.dumps(part)}: {{\n{_lines(entries)}\n}}" for part, entries in asdict(self).items()]
        FILE.write_text("{\n" + ",\n".join(parts) + "\n}\n")

    def tables(self) -> set[str]:
        return {column.partition(".")[0] for column in self.columns}


def broken_by(former: Schema, present: Schema) -> list[str]:
    """Differences between the schemas that break a release that was made for the former one."""
    tables = former.tables()
    missing = [
        f"{name} is missing or has another type" for name in former.columns if _moved(name, former, present)
    ]
    stricter = [
        f"{name} must not be null any more"
        for name, column in former.columns.items()
        if not column["required"] and present.columns.get(name, column)["required"]
    ]
    unknown = [
        f"{name} is new and must be given a value"
        for name, column in present.columns.items()
        if name not in former.columns and name.partition(".")[0] in tables and not column["optional"]
    ]
    rules = [
        f"{name} may refuse a row: {rule}"
        for name, rule in present.rules.items()
        if name.partition(".")[0] in tables and former.rules.get(name) != rule
    ]
    return [*missing, *stricter, *unknown, *rules]


def _moved(name: str, former: Schema, present: Schema) -> bool:
    return name not in present.columns or present.columns[name]["type"] != former.columns[name]["type"]


def _lines(entries: Mapping[str, Any]) -> str:
    """Entries as JSON, one per line and sorted, so that a diff between two releases is easy to
    read.
    """
    return ",\n".join(f"{json.dumps(name)}: {json.dumps(entries[name])}" for name in sorted(entries))
