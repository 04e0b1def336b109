"""Tests of finding the past days whose partitions lack indexes."""

from datetime import UTC, date, datetime, timedelta

from shared.ledger import partitions, past

TODAY = datetime(2026, 11, 30, tzinfo=UTC).date()


def name(day: date) -> str:
    return partitions.partition_name("task", day)


def test_days_before_yesterday_need_each_index_complete_and_the_newest_come_first() -> None:
    days = [name(TODAY - timedelta(days=back)) for back in (-1, 0, 1, 2, 3, 4)]
    existing = [{"name": day, "table": "task"} for day in [*days, "task_kept"]]
    existing.append({"name": "task_log_p20261101", "table": "task_log"})
    indexes = [
        {"name": past.index_name(day, covered), "complete": (day, covered) != (days[4], "status")}
        for day in days[4:]
        for covered in past.COVERED
    ]
    assert past.missing(existing, indexes, TODAY) == {days[3]: list(past.COVERED), days[4]: ["status"]}
