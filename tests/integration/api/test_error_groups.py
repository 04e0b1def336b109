"""Tests of error groups: what operators find in them, and what they decide about them."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from services.scheduler.statistics import Statistics
from shared.ledger import error_groups
from shared.ledger.database import Database
from shared.ledger.ids import uuid7
from shared.ledger.tally import Errors, Tally
from shared.release import RELEASE
from shared.roles import SCHEDULER, WORKER
from shared.settings import Settings
from tests.integration.api.conftest import Person
from tests.roles import as_role

PATH = "operations/errors"


@pytest.fixture
async def as_worker(settings: Settings) -> AsyncIterator[Database]:
    database = Database.for_service(as_role(settings.database_url, WORKER), "test")
    await database.open(size=1)
    yield database
    await database.close()


async def fail(database: Database, *fingerprints: str, release: str = RELEASE, **fields: Any) -> UUID:
    """Store one failed attempt of a task for each of these error fingerprints.

    Returns the task's id.
    """
    tally, task = Tally(database), uuid7(datetime.now(UTC))
    given = {"name": "mail.send", "kind": "bug", "type": "builtins.OSError", "place": "mail:send", **fields}
    for fingerprint in fingerprints:
        error = Errors(fingerprint, **given, message=f"{fingerprint} at {task}", sample_task=task)
        error.attempts, error.tasks, error.release = 1, 1, release
        tally.add_error(error)
    await tally.run_once()
    return task


async def listed(person: Person, **filters: Any) -> list[str]:
    answer = await person.get(PATH, **filters)
    assert answer.status_code == 200, answer.text
    return [item["fingerprint"] for item in answer.json()["items"]]


async def test_groups_are_listed_last_seen_first_by_state_name_and_time_and_in_pages(
    administrator: Person, as_worker: Database, database: Any
) -> None:
    for fingerprint in ("v2:a", "v2:b", "v2:c"):
        await fail(as_worker, fingerprint)
    await fail(as_worker, "v2:d", name="hotels.scan")
    task = await fail(as_worker, "v2:a")
    await administrator.patch(f"{PATH}/v2:b", {"state": "resolved"})

    assert await listed(administrator) == ["v2:a", "v2:d", "v2:c", "v2:b"]
    assert await listed(administrator, state=["resolved", "regressed"]) == ["v2:b"]
    assert await listed(administrator, state="open", name="mail.send") == ["v2:a", "v2:c"]
    await database.execute(
        "UPDATE error_group SET last_at = now() - interval '1 h' WHERE fingerprint = 'v2:c'"
    )
    since = (datetime.now(UTC) - timedelta(minutes=30)).isoformat()
    assert await listed(administrator, since=since) == ["v2:a", "v2:d", "v2:b"]
    # Groups whose last error has the same time are ordered by fingerprint.
    await database.execute("UPDATE error_group SET last_at = now()")
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await administrator.get(PATH, limit=3, **cursor)).json()
        found += [item["fingerprint"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert found == ["v2:d", "v2:c", "v2:b", "v2:a"]

    group = (await administrator.get(f"{PATH}/v2:a")).json()
    assert (group["attempts_24h"], group["tasks_24h"], group["sample_task_id"]) == (2, 2, str(task))
    assert (group["message"], group["first_release"]) == (f"v2:a at {task}", RELEASE)
    assert [hour["attempts"] for hour in group["hours"]] in ([0] * 23 + [2], [0] * 22 + [1, 1])
    assert group["links"]["tasks"] == "/api/v1/tasks?status=failure&fingerprint=v2:a"
    for link in group["links"].values():
        assert (await administrator.client.get(link, headers=administrator.headers)).status_code in (200, 404)


async def test_a_resolved_group_that_comes_back_in_a_newer_release_is_regressed(
    administrator: Person, as_worker: Database
) -> None:
    async def state() -> tuple[str, str]:
        group = (await administrator.get(f"{PATH}/v2:a")).json()
        return group["state"], group["last_release"]

    await fail(as_worker, "v2:a", release="0.9.1")
    await administrator.patch(f"{PATH}/v2:a", {"state": "resolved"})
    for release in ("0.9.1", "0.8.99", "nightly"):
        await fail(as_worker, "v2:a", release=release)
        assert await state() == ("resolved", "0.9.1")
    await fail(as_worker, "v2:a", release="0.10.0")
    assert await state() == ("regressed", "0.10.0")
    assert await listed(administrator, state="regressed") == ["v2:a"]


async def test_a_decision_is_recorded_and_a_muted_group_is_open_again_in_time(
    administrator: Person, as_worker: Database, database: Any
) -> None:
    await fail(as_worker, "v2:a")
    until = datetime.now(UTC) + timedelta(hours=1)
    muted = {"state": "muted", "until": until.isoformat(), "note": "the provider knows"}
    answer = (await administrator.patch(f"{PATH}/v2:a", muted)).json()
    assert (answer["state"], answer["note"], answer["changed_by"]) == (
        "muted",
        "the provider knows",
        administrator.id,
    )
    row = await database.fetchrow("SELECT * FROM audit WHERE action = 'error.changed'")
    assert (row["target_kind"], row["target"], row["reason"]) == ("error", "v2:a", "the provider knows")
    assert (json.loads(row["before"])["state"], json.loads(row["after"])["state"]) == ("open", "muted")
    await fail(as_worker, "v2:a")
    assert await listed(administrator, state="muted") == ["v2:a"]
    await database.execute("UPDATE error_group SET until = now()")
    assert await listed(administrator, state="muted") == []
    assert await listed(administrator, state="open") == ["v2:a"]
    await fail(as_worker, "v2:a")
    assert await database.fetchval("SELECT state FROM error_group WHERE until IS NULL") == "open"
    # A change without a note keeps the note that is stored. An empty note removes it.
    assert (await administrator.patch(f"{PATH}/v2:a", {"state": "open"})).json()["note"] is not None
    assert (await administrator.patch(f"{PATH}/v2:a", {"state": "open", "note": ""})).json()["note"] is None


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"state": "regressed"}, "state"),
        ({}, "state"),
        ({"state": "open", "until": "2999-01-01T00:00:00Z"}, "until"),
        ({"state": "muted", "until": "2020-01-01T00:00:00Z"}, "until"),
        ({"state": "muted", "until": "9999-01-01T00:00:00Z"}, "until"),
        ({"state": "open", "note": "a\x00b"}, "note"),
    ],
)
async def test_a_bad_decision_is_refused_by_field(
    administrator: Person, change: dict[str, str], field: str
) -> None:
    answer = await administrator.patch(f"{PATH}/v2:a", change)
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_unknown_and_malformed_fingerprints_are_not_found(administrator: Person) -> None:
    for fingerprint in ("v2:none", "other:mail.send", "%00", "x" * 200, "%ED%A0%80"):
        assert (await administrator.get(f"{PATH}/{fingerprint}")).status_code == 404
        assert (await administrator.patch(f"{PATH}/{fingerprint}", {"state": "open"})).status_code == 404
    for cursor in ("", "x", "AAAA", "_" * 40):
        answer = await administrator.get(PATH, cursor=cursor)
        assert [error["field"] for error in answer.json()["errors"]] == ["cursor"], cursor


async def test_a_kind_has_a_bounded_number_of_groups_and_one_group_for_the_rest(
    administrator: Person, as_worker: Database, database: Any
) -> None:
    size = error_groups.MAX_GROUPS
    await fail(as_worker, *(f"v2:{number:05}" for number in range(size - 1)))
    assert await database.fetchval("SELECT count(*) FROM error_group") == size - 1
    await fail(as_worker, "v2:x", "v2:y", "v2:z")
    await fail(as_worker, "v2:x", "v2:zz")
    await fail(as_worker, "v2:y", name="hotels.scan")
    found = await database.fetch(
        "SELECT fingerprint, attempts FROM error_hour WHERE fingerprint !~ '^v2:[0-9]' ORDER BY 1"
    )
    assert [tuple(row) for row in found] == [("other:mail.send", 3), ("v2:x", 2), ("v2:y", 1)]
    other = (await administrator.get(f"{PATH}/other:mail.send")).json()
    assert (other["type"], other["place"]) == (None, None)
    assert other["links"]["tasks"] == "/api/v1/tasks?status=failure&name=mail.send"


async def test_old_hours_and_groups_that_were_not_seen_are_dropped(
    as_worker: Database, settings: Settings, database: Any
) -> None:
    await fail(as_worker, "v2:a", "v2:b", "v2:c")
    await database.execute(
        "UPDATE error_group SET last_at = now() - interval '401 d' WHERE fingerprint = 'v2:a'"
    )
    await database.execute("UPDATE error_hour SET hour = now() - interval '31 d' WHERE fingerprint <> 'v2:c'")
    leader = Database.for_service(as_role(settings.database_url, SCHEDULER), "test")
    await leader.open(size=1)
    await Statistics(leader).run_once()
    await leader.close()
    assert {row["fingerprint"] for row in await database.fetch("SELECT * FROM error_group")} == {
        "v2:b",
        "v2:c",
    }
    assert [row["fingerprint"] for row in await database.fetch("SELECT * FROM error_hour")] == ["v2:c"]
