"""SQL that copies the unfinished tasks of a day to the kept partition before the day is dropped.

The caller locks the table and drops the day in the same transaction.
"""

from datetime import date, timedelta

from shared.ledger import partitions


def keep(table: str, day: date) -> str:
    """SQL that copies the rows of one table to its kept partition.

    Of the tables of attempts and log lines, it copies the rows of the tasks that were copied
    before.
    """
    return f"INSERT INTO {partitions.kept_name(table)} {_rows(table, day)}"


def count(table: str, day: date) -> str:
    """SQL that counts the rows that `keep` would copy, as the column `rows`."""
    return f"SELECT count(*) AS rows FROM ({_rows(table, day)}) AS r"


def kept_tasks(day: date) -> str:
    """SQL that reads the ids of this day's tasks in the kept partition."""
    low, high = partitions.floor_id(day), partitions.floor_id(day + timedelta(days=1))
    return f"SELECT id FROM {partitions.kept_name('task')} WHERE id >= '{low}' AND id < '{high}'"


def _rows(table: str, day: date) -> str:
    source = partitions.partition_name(table, day)
    if table == "task":
        return " UNION ALL ".join(f"SELECT t.* {rows}" for rows in partitions.living(source))
    return f"SELECT r.* FROM ({kept_tasks(day)}) AS t JOIN {source} AS r ON r.task_id = t.id"
