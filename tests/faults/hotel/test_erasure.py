"""Tests that an account with all kinds of data can be exported and then erased, although the worker
dies during the erasure. No trace of the account must be left.
"""

import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from local import mail as catcher
from local.postgres import Postgres
from tests.api_process import Api
from tests.eventually import eventually
from tests.integration.worker.hotel.paying import CARD, settings
from tests.platform import Platform
from tests.sample_tasks import SPAWN, WAIT_ASYNC, Seconds, Spawns
from tests.sandbox import Sandbox

EMAIL, NAME, PASSWORD = "asha.unmistakable@often-hotels.example", "Asha Unmistakable Rao", "battery staple 7"
#: Texts of the account that must not be found in Postgres or Redis after the erasure.
TRACES = ("unmistakable", "cus_unmistakable")
STAY = {
    "check_in": f"{datetime.now(UTC).date() + timedelta(days=30)}",
    "check_out": f"{datetime.now(UTC).date() + timedelta(days=31)}",
}
#: Seconds within which the account must be erased. After the death of the first worker, the rescue
#: takes up to 30 s, and then the task has to wait until it can run alone.
ERASED_WITHIN_S = 150
BLOCKED = """
    SELECT 1 FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND query LIKE 'DELETE FROM push_subscription%'
"""


class Visitor:
    """A user who is signed in to the API."""

    def __init__(self, api: Api) -> None:
        self._http = httpx.AsyncClient(base_url=f"{api.url}/api/v1/", trust_env=False, timeout=60)
        self.id = 0

    async def join(self, email: str, password: str, name: str | None = None) -> None:
        account = {"email": email, "password": password, "full_name": name}
        self.id = (await self.ask("POST", "auth/register", account))["id"]
        tokens = await self.ask("POST", "auth/login", {"email": email, "password": password})
        self._http.headers["Authorization"] = f"Bearer {tokens['access_token']}"

    async def ask(self, method: str, path: str, body: Any = None, *, key: str | None = None) -> Any:
        headers = {"Idempotency-Key": key or secrets.token_hex()}
        answer = await self._http.request(method, path, json=body, headers=headers)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def submit(self, path: str, body: Any, *, key: str | None = None) -> UUID:
        return UUID((await self.ask("POST", path, body, key=key))["task_id"])

    async def status_of(self, method: str, path: str, body: Any = None) -> int:
        return (await self._http.request(method, path, json=body)).status_code

    async def close(self) -> None:
        await self._http.aclose()


@pytest.fixture
async def environment(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    """Environment variables for the worker and the API, by which they use the sandbox and a test
    mail server.
    """
    folder = tmp_path / "mail"
    folder.mkdir()
    async with await catcher.serve(0, folder) as server:
        port = str(server.sockets[0].getsockname()[1])
        yield settings(sandbox, SMTP_HOST=catcher.HOST, SMTP_PORT=port, OFTEN_REQUEST_TIMEOUT="10")


@pytest.fixture
async def api(platform: Platform, environment: dict[str, str]) -> Api:
    api = Api(platform)
    await api.start(**environment)
    return api


@pytest.fixture
async def administrator(platform: Platform, api: Api) -> AsyncIterator[Visitor]:
    visitor = Visitor(api)
    await visitor.join("desk@often-hotels.example", PASSWORD)
    await platform.rows("UPDATE account SET role = 'administrator' WHERE id = {}", visitor.id)
    yield visitor
    await visitor.close()


@pytest.fixture
async def guest(api: Api) -> AsyncIterator[Visitor]:
    visitor = Visitor(api)
    await visitor.join(EMAIL, PASSWORD, NAME)
    yield visitor
    await visitor.close()


async def everything_in_redis(platform: Platform) -> str:
    client = platform.queues.client
    return str([(key, await client.dump(key)) async for key in client.scan_iter()])


async def fill(platform: Platform, sandbox: Sandbox, guest: Visitor, administrator: Visitor) -> None:
    """Create rows of the user in each table, and tasks of the user of each kind and in each
    state.
    """
    await platform.rows("UPDATE account SET role = 'operator', verified_at = now() WHERE id = {}", guest.id)
    await guest.ask("POST", "keys", {"name": f"phone of {NAME}", "scopes": ["tasks:read"]})
    await guest.ask("PUT", "auth/me/mail", {"price_alerts": True})
    await guest.ask("POST", "push/subscriptions", await sandbox.subscribe())
    assert await guest.status_of("POST", "auth/login", {"email": EMAIL, "password": "wrong one"}) == 401
    await _schedules(guest)
    await _ended_tasks(platform, sandbox, guest, administrator)
    await _living_tasks(platform, guest)


async def _schedules(guest: Visitor) -> None:
    push = {"user_id": guest.id, "title": NAME, "message": "Good morning"}
    for name, task, params in (
        ("guest.morning", "notifications.send_push", push),
        ("desk.hourly", "system.health_check", {}),
    ):
        schedule = {
            "name": name,
            "task_name": task,
            "params": params,
            "kind": "interval",
            "expression": "1 h",
        }
        await guest.ask("POST", "schedules", schedule)


async def _ended_tasks(platform: Platform, sandbox: Sandbox, guest: Visitor, administrator: Visitor) -> None:
    bound = {"user_id": guest.id, "customer": "cus_unmistakable"}
    bind = {"name": "payments.bind_customer", "params": bound}
    alert = {"hotel_name": NAME, "currency": "INR", "old_price": 9000.0, "new_price": 7500.0}
    price_alert = {"user_id": guest.id, "email_type": "price_alert", "data": alert}
    paid = {"user_id": guest.id, "amount": "99.50", "currency": "INR", "payment_method": CARD}
    search = {"destination": "Goa", **STAY}
    push = {"user_id": guest.id, "title": f"Hello {NAME}", "message": "See you"}
    ids = [
        await administrator.submit("tasks", bind),
        await administrator.submit("tasks/email", price_alert),
        await guest.submit("tasks/email", {"user_id": guest.id, "email_type": "welcome"}, key=EMAIL),
        await guest.submit("tasks/notification", push),
        await guest.submit("tasks/hotel-search", search),
        *await platform.submit(SPAWN, Spawns(children=2, at_once=True), owner=guest.id),
    ]
    await platform.all_final(ids)
    await platform.until(
        await guest.submit("tasks/payment", paid | {"customer": "cus_unmistakable"}), "success"
    )
    refusal = json.dumps({"error": {"type": "invalid_request_error", "message": f"No card of {EMAIL}"}})
    await sandbox.arm(service="stripe", status=400, body=refusal)
    refused = await platform.until(await guest.submit("tasks/payment", paid), "failure")
    assert EMAIL in refused["error_message"]
    # Wait until no workflow is running: after both payments, one task sends the receipt of the
    # first, and one handles the failure of the second, for which there is nothing to refund.
    await eventually(_no_workflow_runs(platform))
    (found,) = await platform.rows("SELECT id FROM hotel ORDER BY id LIMIT 1")
    await guest.ask("POST", "price-alerts", {"hotel_id": found["id"]})
    # Log lines and errors of task bodies could contain data of the account. Such rows are inserted
    # here.
    await platform.rows(
        "INSERT INTO task_log (task_id, claim, ordinal, logged_at, level, message)"
        " SELECT id, claim, 900, now(), 'info', {} FROM task WHERE id = ANY({}::uuid[])",
        f"for {EMAIL}",
        ids,
    )
    await platform.rows(
        "INSERT INTO task_attempt"
        " (task_id, claim, attempt, ended_at, outcome, error_message, error_traceback)"
        " SELECT id, 0, 1, now(), 'retry', {}, {} FROM task WHERE id = {}",
        *(f"{EMAIL} is busy", f"raised for {NAME}", ids[2]),
    )


def _no_workflow_runs(platform: Platform) -> Callable[[], Awaitable[bool]]:
    async def ended() -> bool:
        return not await platform.rows("SELECT 1 FROM workflow WHERE completed_at IS NULL")

    return ended


async def _living_tasks(platform: Platform, guest: Visitor) -> None:
    push = {"user_id": guest.id, "title": f"Later, {NAME}", "message": "Still there?"}
    later = {"name": "notifications.send_push", "params": push, "delay_s": 86_400}
    await guest.submit("tasks", later)
    (running,) = await platform.submit(WAIT_ASYNC, Seconds(seconds=600), owner=guest.id)
    await platform.until(running, "started")


async def test_a_deleted_account_is_exported_completely_and_leaves_no_trace(
    platform: Platform,
    postgres_server: Postgres,
    sandbox: Sandbox,
    environment: dict[str, str],
    administrator: Visitor,
    guest: Visitor,
) -> None:
    await platform.start_scheduler()
    worker = await platform.start_worker(**environment)
    await fill(platform, sandbox, guest, administrator)
    _check_export(await guest.ask("GET", "auth/me/export"))

    connection = await platform.database.connect()
    async with connection.transaction():
        await connection.execute("SELECT 1 FROM push_subscription FOR UPDATE")
        erasure = UUID((await guest.ask("DELETE", "auth/me", {"password": PASSWORD}))["task_id"])
        await eventually(lambda: platform.rows(BLOCKED), 60)
        worker.kill()
        worker.wait()
    await connection.close()
    assert await platform.rows("SELECT 1 FROM account WHERE id = {}", guest.id) != []
    await platform.start_worker(**environment)
    ended = await platform.until(erasure, "success", "failure", timeout_s=ERASED_WITHIN_S)

    assert ended["status"] == "success", ended["error_message"]
    dump = postgres_server.run("pg_dump", "--data-only", platform.database_url).lower()
    left = [line for line in dump.splitlines() if any(trace in line for trace in TRACES)]
    assert left == []
    in_redis = (await everything_in_redis(platform)).lower()
    assert not any(trace in in_redis for trace in TRACES)
    await _check_what_stays(platform, guest, administrator, erasure)


def _check_export(document: dict[str, Any]) -> None:
    assert (document["account"]["email"], document["account"]["full_name"]) == (EMAIL, NAME)
    assert {row["action"] for row in document["audit"]} >= {"session.opened", "key.made"}
    assert {name: len(rows) for name, rows in document.items() if isinstance(rows, list)} == {
        "audit": len(document["audit"]),
        "session": 1,
        "account_confirmation": 1,
        "api_key": 1,
        "workflow": 2,
        "bulk_act": 0,
        "mail_preference": 1,
        "price_alert": 1,
        "push_subscription": 1,
        "notification_log": 5,
        "payment_customer": 1,
        "payment": 2,
        "schedules": 2,
        "tasks": 15,
        "attempts": len(document["attempts"]),
        "log_lines": len(document["log_lines"]),
    }
    tasks = {task["task_name"]: task for task in document["tasks"]}
    # The task was submitted by an administrator, so its sensitive fields are masked in the user's
    # export.
    assert tasks["payments.bind_customer"]["params"]["customer"] == "[hidden]"
    assert tasks["payments.process"]["params"]["payment_method"] == CARD
    assert tasks["email.send_price_alert"]["params"]["alert"]["hotel_name"] == NAME
    assert tasks["email.send_welcome"]["result"]["email"] == EMAIL
    assert f"{EMAIL} is busy" in {attempt["error_message"] for attempt in document["attempts"]}
    assert len([line for line in document["log_lines"] if line["message"] == f"for {EMAIL}"]) == 6
    assert {row["target"] for row in document["notification_log"]} > {EMAIL}
    assert document["payment_customer"][0]["customer"] == "cus_unmistakable"
    assert {"secret_hash", "auth", "p256dh", "password_hash"}.isdisjoint(
        column for rows in document.values() if isinstance(rows, list) for row in rows for column in row
    )


async def _check_what_stays(
    platform: Platform, guest: Visitor, administrator: Visitor, erasure: UUID
) -> None:
    """Check that accounting records and statistics are kept, but contain no data about the erased
    person.
    """
    payments = await platform.rows('SELECT "user", status, amount_minor FROM payment ORDER BY status')
    assert [(row["user"], row["status"], row["amount_minor"]) for row in payments] == [
        (None, "created", 9950),
        (None, "succeeded", 9950),
    ]
    assert await platform.rows("SELECT 1 FROM task WHERE owner = {}", guest.id) == []
    (counted,) = await platform.rows(
        "SELECT count(*) AS n FROM task WHERE params = '{{}}' AND id <> {}", erasure
    )
    assert counted["n"] >= 12
    keys = await platform.rows("SELECT DISTINCT scope FROM submission_key")
    assert [row["scope"] for row in keys] == [f"owner:{administrator.id}"]
    for table in ("login_failure", "price_alert"):
        assert await platform.rows(f"SELECT 1 FROM {table}") == [], table
    mailed = await platform.rows('SELECT DISTINCT "user" FROM notification_log')
    assert [row["user"] for row in mailed] == [administrator.id]
    schedules = await platform.rows("SELECT name, owner FROM schedule WHERE source = 'api'")
    assert [(row["name"], row["owner"]) for row in schedules] == [("desk.hourly", None)]
    assert await guest.status_of("GET", "auth/me") == 401
