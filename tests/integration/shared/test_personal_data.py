"""Tests that the directory of personal data names everything that refers to an account, so that
erasure and export miss nothing.
"""

import msgspec
import pytest

from shared.contracts import catalogue
from shared.personal import directory
from shared.personal.data import Rows, Then
from tests.installed import INSTALLED
from tests.platform import Platform

CATALOGUE = catalogue.load(INSTALLED)
DIRECTORY = directory.read(INSTALLED, CATALOGUE)

#: Finds foreign keys to `account`, and columns whose name suggests that they hold an account's id.
REFERRING = """
    SELECT c.relname AS "table", a.attname AS column FROM pg_attribute AS a
    JOIN pg_class AS c ON c.oid = a.attrelid
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
      AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped
      AND (a.attname ~ '^(user|owner|account|actor|user_id|account_id|.*_by)$' OR EXISTS (
          SELECT FROM pg_constraint AS r WHERE r.conrelid = c.oid AND r.contype = 'f'
            AND r.confrelid = 'account'::regclass AND a.attnum = ANY(r.conkey)))
"""
#: Columns that the directory omits, because the erasure changes them with statements of its own.
TASKS = {("task", "owner"), ("task_failure", "owner")}
#: Parameters that the directory omits, because they contain only the ids of accounts, and no other
#: data about them.
IDS_ONLY = {("notifications.send_bulk", "user_ids")}


async def test_each_column_that_refers_to_an_account_is_named(platform: Platform) -> None:
    found = {(row["table"], row["column"]) for row in await platform.rows(REFERRING)}
    named = {(rows.table, rows.column) for rows in DIRECTORY.rows}
    assert found - named == TASKS
    assert named - found == set()


def test_each_parameter_that_holds_an_account_is_named() -> None:
    found = {
        (name, field.encode_name)
        for name, contract in CATALOGUE.by_name.items()
        for field in msgspec.structs.fields(contract.params)
        if field.encode_name.startswith(("user_id", "account_id", "owner"))
    }
    # The directory also omits the task that erases an account, because it contains the account's id
    # but no other data about it.
    assert found - set(DIRECTORY.fields.items()) - IDS_ONLY == {("accounts.erase", "account_id")}


@pytest.fixture
async def account(platform: Platform) -> int:
    (row,) = await platform.rows(
        "INSERT INTO account (email, password_hash) VALUES ('asha@often.example', '-') RETURNING id"
    )
    return int(row["id"])


@pytest.mark.parametrize("rows", DIRECTORY.rows, ids=lambda rows: f"{rows.table}.{rows.column}")
async def test_the_statements_of_each_entry_fit_its_table(
    platform: Platform, account: int, rows: Rows
) -> None:
    columns = await platform.rows(
        "SELECT column_name FROM information_schema.columns WHERE table_name = {}", rows.table
    )
    assert rows.withheld | {*rows.cleared, *rows.key} <= {row["column_name"] for row in columns}
    if rows.then is not Then.KEEP:
        assert await platform.rows(rows.erasing(), account=account, limit=1) == []
    assert await platform.rows(rows.page(is_first=True), account=account, limit=1) == []
