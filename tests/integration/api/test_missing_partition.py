"""Tests of the API's answers while the ledger has no partition for today."""

from datetime import UTC, datetime
from typing import Any

from services.scheduler.partitioner import Partitioner
from shared.ledger import partitions
from shared.ledger.database import Database
from tests.integration.api.conftest import Client, Person


async def test_without_todays_partition_nothing_is_accepted_and_both_answers_say_why(
    client: Client, guest: Person, database: Any, database_url: str
) -> None:
    name = partitions.partition_name("task", datetime.now(UTC).date())
    await database.execute(f"DROP TABLE {name}")
    cause = f"the partition {name} is missing; the leading scheduler creates it"
    answer = await guest.post("tasks", {"name": "system.health_check", "params": {}})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert cause in answer.json()["detail"]
    ready = await client.get("/health/ready")
    assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
    assert cause in ready.json()["servers"]["postgres"]

    await Partitioner(Database.for_service(database_url, "test")).run_once()
    answer = await guest.post("tasks", {"name": "system.health_check", "params": {}})
    assert answer.status_code == 202


async def test_a_missing_partition_of_log_lines_is_noticed_before_one_is_written(
    client: Client, database: Any
) -> None:
    name = partitions.partition_name("task_log", datetime.now(UTC).date())
    await database.execute(f"DROP TABLE {name}")
    ready = await client.get("/health/ready")
    assert ready.status_code == 503
    assert f"the partition {name} is missing" in ready.json()["servers"]["postgres"]
