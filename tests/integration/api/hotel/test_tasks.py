"""Tests what the hotel application's routes accept, and which fields they refuse."""

import asyncio
import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.api.conftest import Client, Person, SignUp

TODAY = datetime.now(UTC).date()
STAY = {"check_in": f"{TODAY + timedelta(days=7)}", "check_out": f"{TODAY + timedelta(days=9)}"}
SEARCH = {"destination": "Goa", **STAY}
CHARGE = {"amount": "12.50", "currency": "USD", "payment_method": "pm_card_visa"}


def errors(answer: Any) -> dict[str, str]:
    """Check that the answer is a 400.

    Returns the rule that each refused field breaks, by field name.
    """
    assert answer.status_code == 400, answer.text
    return {error["field"]: error["rule"] for error in answer.json()["errors"]}


async def charge(person: Person, body: dict[str, Any], *, key: str | None = None) -> Any:
    headers = {**person.headers, "Idempotency-Key": key or secrets.token_hex()}
    return await person.client.post("/api/v1/tasks/payment", json=body, headers=headers)


async def notify(person: Person, body: dict[str, Any]) -> Any:
    return await person.post("tasks/notification", body)


BAD_SEARCHES: list[Any] = [
    ({"check_in": "2020-01-01", "check_out": "2020-01-02"}, "check_in", "past"),
    ({"check_out": SEARCH["check_in"]}, "check_out", "later than check_in"),
    ({"check_out": f"{TODAY + timedelta(days=60)}"}, "check_out", "30 days"),
    ({"children": 2, "children_ages": [4]}, "children_ages", "one age per child"),
    ({"children": 1, "children_ages": [18]}, "children_ages[0]", "<= 17"),
    ({"currency": "XYZ"}, "currency", "ISO 4217"),
    ({"guests": 0}, "guests", ">= 1"),
    ({"filters": {"min_price": 5, "max_price": 4}}, "filters.min_price", "above max_price"),
    ({"filters": {"stars": [6]}}, "filters.stars[0]", "<= 5"),
    ({"check_in": "tomorrow"}, "check_in", "date"),
    ({"pool": True}, "pool", "not a known field"),
]


async def test_a_search_that_makes_no_sense_is_refused_by_its_field(
    guest: Person, subtests: pytest.Subtests
) -> None:
    for change, field, rule in BAD_SEARCHES:
        with subtests.test(change=change, field=field, rule=rule):
            found = errors(await guest.post("tasks/hotel-search", SEARCH | change))
            assert list(found) == [field]
            assert rule in found[field]


async def test_a_search_belongs_to_its_caller(guest: Person) -> None:
    answer = await guest.post("tasks/hotel-search", SEARCH | {"guests": 3})
    assert answer.status_code == 202, answer.text
    task = (await guest.get(f"tasks/{answer.json()['task_id']}")).json()
    assert task["task_name"] == "hotels.search"
    assert task["queue"] == "hotel_processing"
    assert (task["params"]["user_id"], task["params"]["adults"]) == (guest.id, 3)


async def test_a_price_alert_for_less_than_can_be_stored_is_refused(
    guest: Person, subtests: pytest.Subtests
) -> None:
    for percent in [0, 0.004, -1, 100.1]:
        with subtests.test(percent=percent):
            found = errors(await guest.post("price-alerts", {"hotel_id": 1, "drop_percent": percent}))
            assert list(found) == ["drop_percent"]


BAD_PAYMENTS: list[Any] = [
    ({"amount": "0.00"}, "amount", "more than 0"),
    ({"amount": "-5"}, "amount", "regex"),
    ({"amount": "1.234"}, "amount", "at most 2 decimals in USD"),
    ({"amount": "1.5", "currency": "JPY"}, "amount", "at most 0 decimals in JPY"),
    ({"currency": "USX"}, "currency", "ISO 4217"),
    ({"currency": "XAU"}, "currency", "XAU is not"),
    ({"currency": "MGA"}, "currency", "counts it in another unit"),
    ({"payment_method": "4242424242424242"}, "payment_method", "regex"),
]


async def test_a_payment_that_makes_no_sense_is_refused_by_its_field(
    guest: Person, subtests: pytest.Subtests
) -> None:
    for change, field, rule in BAD_PAYMENTS:
        with subtests.test(change=change, field=field, rule=rule):
            found = errors(await charge(guest, {"user_id": guest.id} | CHARGE | change))
            assert list(found) == [field]
            assert rule in found[field]


async def test_a_payment_shows_its_card_to_the_payer_only(
    guest: Person, administrator: Person, operator: Person, database: Any
) -> None:
    answer = await charge(guest, {"user_id": guest.id} | CHARGE)
    path = f"tasks/{answer.json()['task_id']}"
    assert (await guest.get(path)).json()["params"]["payment_method"] == "pm_card_visa"
    assert (await operator.get(path)).json()["params"]["payment_method"] == "[hidden]"
    stored = await database.fetchval("SELECT params::text FROM task WHERE owner = $1", guest.id)
    assert "pm_card_visa" not in stored


async def test_no_caller_charges_or_pushes_to_another_account(
    guest: Person, administrator: Person, sign_up: SignUp
) -> None:
    other = await sign_up()
    push = {"title": "Hello", "message": "there"}
    for send, body in ((charge, CHARGE), (notify, push)):
        refused = await send(guest, {"user_id": other.id} | body)
        assert refused.status_code == 403
        assert refused.json()["errors"][0]["field"] == "user_id"
        unknown = await send(administrator, {"user_id": 10**12} | body)
        assert unknown.status_code == 422
        assert (await send(administrator, {"user_id": other.id} | body)).status_code == 202


async def test_a_payment_returns_its_charge_task_which_names_its_workflow(
    guest: Person, database: Any
) -> None:
    payment = {"user_id": guest.id} | CHARGE
    first, again = [await charge(guest, payment, key="order-1") for _ in range(2)]
    assert first.json() == again.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    task = (await guest.get(f"tasks/{first.json()['task_id']}")).json()
    assert (task["task_name"], task["status"], task["step"]) == ("payments.process", "pending", "charge")
    flow = (await guest.get(f"workflows/{task['workflow']}")).json()
    assert [(step["step"], step["state"]) for step in flow["steps"]] == [
        ("charge", "running"),
        ("receipt", "waiting"),
        ("refund", "waiting"),
    ]
    stored = await database.fetchval("SELECT string_agg(to_jsonb(s)::text, '') FROM workflow_step AS s")
    assert "pm_card_visa" not in stored

    # Release 0.2 stored only the task's id, and no workflow, under an idempotency key. A request
    # with such a key must still return that task.
    (single,) = await database.fetchrow("SELECT uuidv7()::text")
    await database.execute("UPDATE submission_key SET task_ids = ARRAY[$1::uuid]", single)
    assert (await charge(guest, payment, key="order-1")).json()["task_id"] == single


async def test_nobody_submits_what_only_workflows_do(
    administrator: Person, subtests: pytest.Subtests
) -> None:
    for name in ["payments.refund", "email.send_receipt", "email.send_digest"]:
        with subtests.test(name=name):
            step = {"step": "one", "task": name, "params": {}}
            assert (await administrator.post("tasks", {"name": name, "params": {}})).status_code == 422
            assert (
                await administrator.post("workflows", {"name": "mine", "steps": [step]})
            ).status_code == 400


async def test_a_payment_needs_an_idempotency_key(guest: Person, database: Any) -> None:
    payment = {"user_id": guest.id} | CHARGE
    task = {"name": "payments.process", "params": payment}
    answers = [
        await guest.post("tasks/payment", payment),
        await guest.post("tasks", task),
        await guest.post("tasks/batch", {"tasks": [task]}),
    ]
    for answer in answers:
        assert list(errors(answer)) == ["Idempotency-Key"]
        assert "is required" in errors(answer)["Idempotency-Key"]
    assert await database.fetchval("SELECT count(*) FROM task") == 0
    assert (await charge(guest, payment)).status_code == 202


async def test_a_push_that_no_service_would_take_is_refused(guest: Person) -> None:
    push = {"user_id": guest.id, "title": "Hello", "message": "there"}
    found = errors(await guest.post("tasks/notification", push | {"data": {"text": "x" * 4_000}}))
    assert "at most 3993 bytes" in "".join(found.values())
    found = errors(await guest.post("tasks/notification", push | {"notification_type": "sms"}))
    assert list(found) == ["notification_type"]


INSIDE: list[Any] = [
    "http://push.example.com/1",
    "https://localhost/1",
    "https://127.0.0.1/1",
    "https://10.0.0.7/1",
    "https://[::1]/1",
    "https://printer.local/1",
    "ftp://push.example.com/1",
    "https://user:secret@push.example.com/1",
]


async def test_an_endpoint_that_leads_inside_is_refused(guest: Person, subtests: pytest.Subtests) -> None:
    for endpoint in INSIDE:
        with subtests.test(endpoint=endpoint):
            keys = {"p256dh": "BA", "auth": "AA"}
            found = errors(await guest.post("push/subscriptions", {"endpoint": endpoint, "keys": keys}))
            assert set(found) == {"endpoint", "keys"}


async def test_a_hotel_and_stay_have_one_price_alert(guest: Person, database: Any) -> None:
    hotel = await database.fetchval(
        "INSERT INTO hotel (provider, external_id, name) VALUES ('serpapi', 'sea', 'Sea View') RETURNING id"
    )
    first = await guest.post("price-alerts", {"hotel_id": hotel, "drop_percent": 3})
    again = await guest.post("price-alerts", {"hotel_id": hotel, "drop_percent": 7.5})
    stay = await guest.post("price-alerts", {"hotel_id": hotel, **STAY})
    assert [answer.status_code for answer in (first, again, stay)] == [201, 201, 201]
    listed = (await guest.get("price-alerts")).json()
    assert [(alert["id"], alert["drop_percent"]) for alert in listed] == [
        (first.json()["id"], 7.5),
        (stay.json()["id"], 5.0),
    ]
    assert (await guest.post("price-alerts", {"hotel_id": 10**12})).status_code == 422
    assert list(errors(await guest.post("price-alerts", {"hotel_id": hotel, "check_in": f"{TODAY}"}))) == [
        "check_out"
    ]
    assert (await guest.delete(f"price-alerts/{first.json()['id']}")).status_code == 204
    assert (await guest.delete(f"price-alerts/{first.json()['id']}")).status_code == 404


async def test_the_log_stream_sends_lines_and_the_end(
    administrator: Person, client: Client, database: Any
) -> None:
    later = {"name": "system.health_check", "params": {}, "delay_s": 3600}
    task_id = (await administrator.post("tasks", later)).json()["task_id"]
    await database.executemany(
        "INSERT INTO task_log (task_id, claim, ordinal, logged_at, level, message)"
        " VALUES ($1, 1, $2, now(), $3, $4)",
        [(task_id, 1, "debug", "too fine"), (task_id, 2, "info", "first"), (task_id, 3, "info", "second")],
    )
    await administrator.delete(f"tasks/{task_id}")
    answer = await administrator.get(f"admin/hotel-tracking/logs/{task_id}/stream", level="info")
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = [block.splitlines() for block in answer.text.replace("\r", "").strip().split("\n\n")]
    told = [(block[0], json.loads(block[1].removeprefix("data: "))) for block in blocks]
    assert [name for name, _ in told] == [f"event: {n}" for n in ("connected", "log", "log", "completed")]
    assert [event["message"] for _, event in told[1:3]] == ["first", "second"]
    assert told[-1][1]["status"] == "revoked"


async def test_only_staff_start_and_inspect_the_tracking(
    guest: Person, administrator: Person, database: Any
) -> None:
    path = "admin/hotel-tracking"
    assert (await guest.post(f"{path}/start", None)).status_code == 403
    before = await database.fetchval("SELECT count(*) FROM task")
    summary = (await administrator.get(f"{path}/summary")).json()
    assert summary["statistics"]["hotels_tracked"] == 0
    assert (await administrator.get(f"{path}/config")).json()["hotel_class_filter"] == [4, 5]
    health = (await administrator.get(f"{path}/health")).json()
    assert health == {"postgres": "ok", "redis": "ok", "workers": 0, "open_tasks": 0}
    assert await database.fetchval("SELECT count(*) FROM task") == before
    assert (await administrator.post(f"{path}/destination/999", {})).status_code == 404
    assert (await administrator.post(f"{path}/start", None)).status_code == 202
    assert (await administrator.get(f"{path}/health")).json()["open_tasks"] == 1


async def test_head_of_an_endless_stream_ends(administrator: Person) -> None:
    later = {"name": "system.health_check", "params": {}, "delay_s": 3600}
    task_id = (await administrator.post("tasks", later)).json()["task_id"]
    path = f"/api/v1/admin/hotel-tracking/logs/{task_id}/stream"
    async with asyncio.timeout(20):
        answer = await administrator.client.head(path, headers=administrator.headers)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith("text/event-stream")
