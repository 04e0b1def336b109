"""Tests which actions leave what in the audit log, and who can read it. rights/test_reach.py
covers the audit rows of all other routes.
"""

import asyncio
import json
import os
import secrets
import subprocess
import sys
from typing import Any

import pytest

from services.api.audit.per_minute import MAX_KEYS, PerMinute
from shared.settings import Settings
from tests.integration.api.conftest import Client, Person, side_by_side


async def _log(database: Any, *actions: str) -> list[Any]:
    """The rows of the audit log about these actions, oldest first."""
    return list(await database.fetch("SELECT * FROM audit WHERE action = ANY($1) ORDER BY id", actions))


async def test_each_change_of_an_account_is_a_row_with_the_values_before_and_after(
    administrator: Person, guest: Person, database: Any
) -> None:
    change = {"role": "viewer", "is_active": False, "full_name": "Ann Lee", "reason": "has left"}
    await administrator.patch(f"accounts/{guest.id}", change)
    await administrator.patch(f"accounts/{guest.id}", {"role": "viewer", "is_active": True})
    rows = await database.fetch("SELECT * FROM audit WHERE actor = $1 OFFSET 1", administrator.id)
    assert [(row["action"], row["before"], row["after"], row["reason"]) for row in rows] == [
        ("account.role_changed", '{"role": "user"}', '{"role": "viewer"}', "has left"),
        ("account.deactivated", '{"is_active": true}', '{"is_active": false}', "has left"),
        ("account.renamed", None, None, "has left"),
        ("account.activated", '{"is_active": false}', '{"is_active": true}', None),
    ]
    assert {(row["target_kind"], row["target"]) for row in rows} == {("account", str(guest.id))}


async def test_sign_ins_and_wrong_passwords_name_the_account_and_never_the_address(
    client: Client, guest: Person, database: Any
) -> None:
    for _ in range(7):
        wrong = {"email": guest.email, "password": "wrong horse"}
        await client.post("/api/v1/auth/login", json=wrong)
    for number in range(3):
        unknown = {"email": f"nobody{number}@often.example", "password": "wrong horse"}
        await client.post("/api/v1/auth/login", json=unknown)

    (opened,) = await _log(database, "session.opened")
    session = await database.fetchval("SELECT id FROM session")
    assert (opened["actor"], opened["credential"], opened["credential_id"]) == (guest.id, "session", session)
    failed = await _log(database, "sign_in.failed")
    assert [row["target"] for row in failed] == [str(guest.id)] * 5 + [None]
    assert {row["actor"] for row in failed} == {None}
    (locked,) = await _log(database, "sign_in.locked")
    assert locked["target"] == str(guest.id)
    assert "@" not in str(await database.fetch("SELECT * FROM audit"))


async def test_a_refresh_token_that_is_used_again_is_recorded_with_its_session(
    client: Client, guest: Person, database: Any
) -> None:
    for _ in range(3):
        await client.post("/api/v1/auth/refresh", json={"refresh_token": guest.refresh_token})
    (row,) = await _log(database, "session.token_reused")
    session = await database.fetchval("SELECT id FROM session")
    assert (row["target"], json.loads(row["after"])) == (str(guest.id), {"sessions": [str(session)]})


async def test_a_refused_request_is_recorded_once_a_minute_for_each_caller_and_route(
    administrator: Person, guest: Person, database: Any
) -> None:
    made = await guest.post("keys", {"name": "a robot", "scopes": ["tasks:read"]})
    robot = {"Authorization": f"Bearer {made.json()['key']}"}
    for _ in range(3):
        await guest.get("accounts")
        await guest.get(f"accounts/{guest.id}")
        await guest.get("keys", owner=administrator.id)
        await guest.client.get("/api/v1/auth/me", headers=robot)
    rows = await _log(database, "access.refused")
    assert [(row["actor"], row["target"], json.loads(row["after"])["refusal"]) for row in rows] == [
        (guest.id, "GET /api/v1/accounts", "role-forbids"),
        (guest.id, "GET /api/v1/accounts/{account_id}", "role-forbids"),
        (guest.id, "GET /api/v1/keys", "not-allowed"),
        (guest.id, "GET /api/v1/auth/me", "scope-missing"),
    ]
    assert rows[3]["credential"] == "key"
    assert str(rows[3]["credential_id"]) == made.json()["id"]


def test_callers_cannot_flood_the_audit_log(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    per_minute = PerMinute(lambda: now)
    assert sum(per_minute.is_new(number) for number in range(10 * MAX_KEYS)) == MAX_KEYS
    assert len(caplog.records) == 1
    now = 60.0
    assert per_minute.is_new(1)
    assert not per_minute.is_new(1)


async def test_acts_of_users_on_their_own_tasks_are_not_recorded(
    guest: Person, operator: Person, database: Any
) -> None:
    await database.execute("TRUNCATE audit")
    for number in range(2):
        body = {"name": "sample.greet", "params": {"user_id": guest.id}, "delay_s": 3600}
        task_id = (await guest.post("tasks", body)).json()["task_id"]
        if number:
            await operator.delete(f"tasks/{task_id}")
        else:
            await guest.delete(f"tasks/{task_id}")
    (row,) = await database.fetch("SELECT * FROM audit")
    assert (row["actor"], row["action"], row["target"]) == (operator.id, "task.canceled", task_id)
    after = {"status": "revoked", "name": "sample.greet", "owner": guest.id}
    assert json.loads(row["after"]) == after


async def test_a_batch_for_others_is_one_row_and_its_repetition_none(
    administrator: Person, guest: Person, database: Any
) -> None:
    tasks = [{"name": "sample.greet", "params": {"user_id": guest.id}} for _ in range(3)]
    tasks.insert(0, {"name": "system.health_check", "params": {}})
    headers = {**administrator.headers, "Idempotency-Key": secrets.token_hex()}
    for _ in range(2):
        answer = await administrator.client.post(
            "/api/v1/tasks/batch", json={"tasks": tasks}, headers=headers
        )
    (row,) = await _log(database, "task.submitted")
    assert row["target"] == answer.json()["task_ids"][1]
    assert json.loads(row["after"]) == {"tasks": 3, "names": ["sample.greet"], "recipients": [guest.id]}


async def test_a_schedule_is_recorded_without_its_parameters(operator: Person, database: Any) -> None:
    schedule = {
        "name": "greet.hourly",
        "task_name": "sample.greet",
        "params": {"user_id": operator.id, "text": "a word in confidence"},
        "kind": "interval",
        "expression": "1 h",
        "reason": "they asked for it",
    }
    assert (await operator.post("schedules", schedule)).is_success
    change = {"enabled": False, "params": {"user_id": operator.id, "text": "another word in confidence"}}
    assert (await operator.patch("schedules/greet.hourly", change)).is_success
    made, changed = await _log(database, "schedule.made", "schedule.changed")
    assert (made["target"], made["reason"]) == ("greet.hourly", "they asked for it")
    assert json.loads(made["after"])["expression"] == "1 h"
    assert json.loads(changed["before"]) == {"enabled": True}
    assert json.loads(changed["after"]) == {"enabled": False, "params": "changed"}
    assert "confidence" not in str([made, changed])


@pytest.mark.parametrize("reason", ["", "a\x00b", "two\nlines", "x" * 501])
async def test_a_bad_reason_is_refused(administrator: Person, guest: Person, reason: str) -> None:
    answer = await administrator.patch(f"accounts/{guest.id}", {"role": "viewer", "reason": reason})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "reason")


async def test_an_act_and_its_row_are_committed_together_or_not_at_all(
    settings: Settings, administrator: Person, guest: Person, database: Any
) -> None:
    """With the reason `no` the INSERT of the audit row fails.

    With `late` the COMMIT of the action and its audit row fails.
    """
    await database.execute("""
        ALTER TABLE audit ADD CHECK (reason <> 'no');
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'this commit fails'; END $$;
        CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON audit DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW WHEN (new.reason = 'late') EXECUTE FUNCTION refuse();
    """)
    async with side_by_side(settings) as http:
        for reason in ("no", "late"):
            change = {"role": "viewer", "reason": reason}
            answer = await http.patch(
                f"/api/v1/accounts/{guest.id}", json=change, headers=administrator.headers
            )
            assert answer.status_code == 500
    assert await database.fetchval("SELECT role FROM account WHERE id = $1", guest.id) == "user"
    assert await _log(database, "account.role_changed") == []


async def test_operators_read_the_log_in_pages_and_by_filters(
    operator: Person, administrator: Person, guest: Person
) -> None:
    for role in ("viewer", "user", "viewer"):
        await administrator.patch(f"accounts/{guest.id}", {"role": role})
    seen: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await operator.get("audit", limit=4, **cursor)).json()
        seen += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    # The log contains three changes, and the registration and the sign-in of each of three people.
    assert len(seen) == 3 + 3 * 2
    assert seen == sorted(seen, key=lambda entry: entry["id"], reverse=True)

    async def found(**wanted: Any) -> list[Any]:
        return list((await operator.get("audit", **wanted)).json()["items"])

    changes = seen[:3]
    assert await found(actor=administrator.id, action="account.role_changed") == changes
    assert await found(target_kind="account", target=str(guest.id)) == [
        entry for entry in seen if entry["target"] == str(guest.id)
    ]
    assert await found(since=changes[1]["at"], until="2099-01-01T00:00:00Z") == changes[:2]
    assert await found(until=changes[1]["at"]) == seen[2:]
    assert changes[0] == {
        "id": changes[0]["id"],
        "at": changes[0]["at"],
        "actor": administrator.id,
        "credential": "session",
        "credential_id": changes[1]["credential_id"],
        "network": "testclient",
        "action": "account.role_changed",
        "target_kind": "account",
        "target": str(guest.id),
        "before": {"role": "user"},
        "after": {"role": "viewer"},
        "reason": None,
        "request_id": changes[0]["request_id"],
    }


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"actor": "0"}, "actor"),
        ({"action": "no such!"}, "action"),
        ({"target": "7"}, "target_kind"),
        ({"since": "yesterday"}, "since"),
        ({"cursor": "abc"}, "cursor"),
        ({"role": "user"}, "role"),
    ],
)
async def test_a_bad_filter_is_named(operator: Person, wanted: dict[str, str], field: str) -> None:
    answer = await operator.get("audit", **wanted)
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (400, [field])


async def test_a_key_needs_the_scope_of_operations(operator: Person) -> None:
    for scope, status in (("operations:read", 200), ("tasks:read", 403)):
        made = (await operator.post("keys", {"name": "a robot", "scopes": [scope]})).json()
        headers = {"Authorization": f"Bearer {made['key']}"}
        assert (await operator.client.get("/api/v1/audit", headers=headers)).status_code == status


@pytest.mark.parametrize(
    ("sent", "is_kept"),
    [("a-trace:7/of.mine", True), ("two words", False), ("x" * 101, False), ("", False)],
)
async def test_a_sane_request_id_is_kept_and_another_one_replaced(
    client: Client, sent: str, is_kept: bool
) -> None:
    answers = [await client.get("/api/v1/nowhere", headers={"X-Request-Id": sent}) for _ in range(2)]
    ids = [answer.headers["X-Request-Id"] for answer in answers]
    assert [answer.json()["request_id"] for answer in answers] == ids
    assert (ids == [sent, sent]) == is_kept
    assert is_kept or len(set(ids)) == 2


async def test_the_first_administrator_is_recorded_as_made_on_the_command_line(
    database_url: str, database: Any
) -> None:
    command = [sys.executable, "-m", "services.api.identity.administrator", "--email", "ann@often.example"]
    environment = {**os.environ, "DATABASE_URL": database_url, "ADMIN_PASSWORD": secrets.token_hex()}
    for _ in range(2):
        await asyncio.to_thread(subprocess.run, command, env=environment, check=True, timeout=60)
    (row,) = await _log(database, "account.registered")
    account = await database.fetchval("SELECT id FROM account")
    assert (row["actor"], row["credential"], row["target"]) == (None, "command line", str(account))
    assert json.loads(row["after"]) == {"role": "administrator"}


async def test_a_refusal_that_cannot_be_recorded_is_still_a_refusal(
    guest: Person, database: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await database.execute("REVOKE INSERT ON audit FROM often_api")
    answer = await guest.get("accounts")
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:often:problem:role-forbids")
    text = "but the audit log could not record it"
    (record,) = [each for each in caplog.records if text in each.getMessage()]
    assert record.exc_info is not None
