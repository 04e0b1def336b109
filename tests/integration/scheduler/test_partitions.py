"""Tests that the scheduler creates partitions in advance, in the ledger's own schema, and counts
them.
"""

from datetime import UTC, date, datetime, timedelta

import pytest

from local.ports import pick
from services.scheduler.leader_gauges import LeaderGauges
from services.scheduler.partition_gauges import PartitionGauges
from services.scheduler.partitioner import Partitioner
from shared.ledger import partitions
from tests.eventually import eventually
from tests.platform import Platform
from tests.sample_tasks import INSTANT, Nothing

TODAY = datetime.now(UTC).date()


async def names(platform: Platform) -> set[str]:
    return {row["name"] for row in await platform.rows(partitions.EXISTING)}


async def test_missing_days_are_added_under_load(platform: Platform) -> None:
    await platform.submit(INSTANT, Nothing())
    before = await names(platform)
    for table in ("task", "task_log"):
        await platform.rows(f"DROP TABLE {max(n for n in before if n.startswith(f'{table}_p'))}")
    await Partitioner(platform.database).run_once()
    await Partitioner(platform.database).run_once()
    assert await names(platform) == before


async def test_days_are_those_of_the_clock_of_postgres(platform: Platform) -> None:
    platform.database.note_time(datetime.now(UTC) + timedelta(days=2))
    gauges = LeaderGauges(lambda: True)
    service = PartitionGauges(platform.database, gauges)
    await service.run_once()
    assert values(gauges)["often_ledger_days_ahead"] == partitions.DAYS_AHEAD - 2
    await Partitioner(platform.database).run_once()
    await service.run_once()
    assert values(gauges)["often_ledger_days_ahead"] == partitions.DAYS_AHEAD


async def test_a_partition_that_cannot_be_attached_leaves_no_table_that_does_not_fit_later(
    platform: Platform,
) -> None:
    before, day = await names(platform), TODAY + timedelta(days=3)
    name = partitions.partition_name("task", day)
    await platform.rows(f"DROP TABLE {name}")
    await platform.rows(f"CREATE TABLE stranger PARTITION OF task {range_of(day)}")
    with pytest.raises(ExceptionGroup):
        await Partitioner(platform.database).run_once()

    await platform.rows("DROP TABLE stranger")
    await platform.rows("ALTER TABLE task ADD COLUMN of_a_migration integer")
    await Partitioner(platform.database).run_once()
    assert await names(platform) == before


async def test_a_partition_that_cannot_be_created_does_not_stop_the_others(platform: Platform) -> None:
    before = await names(platform)
    broken, *others = [partitions.partition_name("task", TODAY + timedelta(days=n)) for n in range(3)]
    others.append(partitions.partition_name("task_log", TODAY))
    await platform.rows(f"DROP TABLE {broken}, {', '.join(others)}")
    await platform.rows(f"CREATE TABLE {broken} (id uuid)")
    with pytest.raises(ExceptionGroup) as raised:
        await Partitioner(platform.database).run_once()
    assert [error.__notes__ for error in raised.value.exceptions] == [
        [f"The partition {broken} was not created."]
    ]
    assert await names(platform) == before - {broken}


def range_of(day: date) -> str:
    low, high = partitions.floor_id(day), partitions.floor_id(day + timedelta(days=1))
    return f"FOR VALUES FROM ('{low}') TO ('{high}')"


async def test_partitions_of_another_ledger_in_the_same_database_do_not_count(platform: Platform) -> None:
    day = TODAY + timedelta(days=3)
    name = partitions.partition_name("task", day)
    before = await names(platform)
    await platform.rows("CREATE SCHEMA second")
    await platform.rows("CREATE TABLE second.task (LIKE task) PARTITION BY RANGE (id)")
    await platform.rows(f"CREATE TABLE second.{name} PARTITION OF second.task {range_of(day)}")
    await platform.rows(f"DROP TABLE {name}")
    assert await names(platform) == before - {name}
    await Partitioner(platform.database).run_once()
    assert await names(platform) == before
    found = [row["name"] for row in await platform.rows(partitions.STATES)]
    assert found.count(name) == 1


async def test_the_leader_reports_partitions_their_limit_and_how_far_they_reach(platform: Platform) -> None:
    port = pick("leader")["leader"]
    await platform.start_scheduler(OFTEN_METRICS_PORT=str(port))

    async def reported() -> dict[str, float] | None:
        found = await platform.metrics(port)
        return found if "often_ledger_days_ahead[]" in found else None

    found = await eventually(reported)
    assert found["often_ledger_days_ahead[]"] == partitions.DAYS_AHEAD
    assert found["often_ledger_partitions_limit[]"] == 40
    for table in partitions.PARTITIONED:
        assert found[f"often_ledger_partitions['{table}']"] == 9


async def test_the_limit_follows_the_retention_and_a_gap_ends_the_days_ahead(platform: Platform) -> None:
    gauges = LeaderGauges(lambda: True)
    service = PartitionGauges(platform.database, gauges)
    await platform.rows(
        "INSERT INTO schedule (name, task_name, params, kind, expression) VALUES "
        "('cleanup', 'maintenance.cleanup_old_tasks', jsonb_build_object('days_old', 90), 'interval', '1 d')"
    )
    await platform.rows(f"DROP TABLE {partitions.partition_name('task_log', TODAY + timedelta(days=3))}")
    await service.run_once()
    assert values(gauges) == {
        "often_ledger_partitions_limit": 100,
        "often_ledger_days_ahead": 2,
        "often_ledger_days_unindexed": 0,
    }
    await platform.rows(f"DROP TABLE {partitions.partition_name('task', TODAY)}")
    await service.run_once()
    assert values(gauges)["often_ledger_days_ahead"] == -1


def values(gauges: LeaderGauges) -> dict[str, float]:
    """Values of the leader's gauges that have no labels, by name."""
    samples = [sample for metric in gauges.collect() for sample in metric.samples]
    return {s.name: s.value for s in samples if not s.labels and s.name != "often_scheduler_leader"}
