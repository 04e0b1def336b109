"""Tests the hotel application's tasks over HTTP, on the system that `make run` starts. A sandbox
simulates the outside services, such as Stripe.
"""

import email
import email.policy
import secrets
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.local_system import LocalSystem
from tests.eventually import eventually

FINAL = ("success", "failure", "revoked")
TODAY = datetime.now(UTC).date()
STAY = {"check_in": f"{TODAY + timedelta(days=30)}", "check_out": f"{TODAY + timedelta(days=31)}"}


class Visitor:
    """An administrator who is signed in to the running system. It can also read and change the
    state of the sandbox, which simulates the outside services.
    """

    def __init__(self, described: dict[str, Any], system: LocalSystem) -> None:
        self.system = system
        self._api = httpx.AsyncClient(base_url=f"{described['api']}/api/v1/", trust_env=False, timeout=30)
        self._sandbox = httpx.AsyncClient(
            base_url=f"{described['sandbox']}/sandbox/", trust_env=False, timeout=30
        )
        self.id = 0

    async def sign_in(self, admin: dict[str, str]) -> None:
        tokens = await self.post("auth/login", {"email": admin["email"], "password": admin["password"]})
        self._api.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        self.id = (await self.get("auth/me"))["id"]

    async def get(self, path: str) -> Any:
        return (await self._api.get(path)).raise_for_status().json()

    async def post(self, path: str, body: Any) -> Any:
        # Some tasks require an idempotency key, for example payments. For other tasks, it does no
        # harm.
        answer = await self._api.post(path, json=body, headers={"Idempotency-Key": secrets.token_hex()})
        assert answer.is_success, answer.text
        return answer.json()

    async def submit(self, path: str, body: Any) -> dict[str, Any]:
        """Submit a task and wait until it has ended. Returns the ended task."""
        task_id = (await self.post(path, body))["task_id"]
        return await self.ended(task_id)

    async def ended(self, task_id: str) -> dict[str, Any]:
        async def final() -> dict[str, Any] | None:
            task: dict[str, Any] = await self.get(f"tasks/{task_id}")
            return task if task["status"] in FINAL else None

        return await eventually(final, 90)

    async def pay(self, card: str) -> dict[str, Any]:
        body = {"user_id": self.id, "amount": "4999.00", "currency": "INR", "payment_method": card}
        return await self.submit("tasks/payment", body)

    async def sandbox(self, method: str, path: str, body: Any = None) -> Any:
        answer = (await self._sandbox.request(method, path, json=body)).raise_for_status()
        return answer.json() if answer.content else None

    async def close(self) -> None:
        await self._api.aclose()
        await self._sandbox.aclose()


@pytest.fixture
async def visitor() -> AsyncIterator[Visitor]:
    with tempfile.TemporaryDirectory(prefix="often-e2e-") as name:
        Path(name).chmod(0o755)  # the account that runs PostgreSQL must be able to enter this folder
        system = LocalSystem(Path(name))
        try:
            described = await system.start()
            visitor = Visitor(described, system)
            await visitor.sign_in(described["admin"])
            yield visitor
            await visitor.close()
        finally:
            system.close()


async def test_what_the_application_is_there_for_works_on_a_fresh_system(visitor: Visitor) -> None:
    assert "simulates SerpApi, TravClan, Stripe, Web Push" in visitor.system.output
    await _search(visitor)
    await _prices_fall(visitor)
    await _push(visitor)
    await _payments(visitor)


async def _search(visitor: Visitor) -> None:
    task = await visitor.submit("tasks/hotel-search", {"destination": "Goa", **STAY})
    assert task["status"] == "success", task["error_message"]
    assert task["progress_total"] == 4
    result = task["result"]
    assert set(result["providers"]) == {"serpapi", "travclan"}
    assert sum(hotel["price"] is not None for hotel in result["hotels"]) > 20


async def _prices_fall(visitor: Visitor) -> None:
    """Scan the prices of hotels, create a price alert, and scan again as of the next day, when
    prices have fallen.
    """
    summary = await visitor.get("admin/hotel-tracking/summary")
    assert {"Goa", "Kochi"} <= {place["name"] for place in summary["destinations"]}
    started = await visitor.post("admin/hotel-tracking/start", None)
    assert (await visitor.ended(started["task_id"]))["result"]["destinations_submitted"] == 2
    first = await visitor.submit("admin/hotel-tracking/destination/1", {"days": 2})
    assert first["result"]["price_records_created"] > 10
    found = await visitor.submit(
        "tasks/hotel-search",
        {"destination": "Candolim, Goa, India", "check_in": _day(1), "check_out": _day(2), "guests": 1},
    )
    hotel = next(h for h in found["result"]["hotels"] if h["price_for"] == "night" and h["star_rating"] >= 4)
    await visitor.post("price-alerts", {"hotel_id": hotel["id"]})

    await visitor.sandbox("PUT", "serpapi", {"price_factor": 0.8})
    again = {"observed_on": _day(1), "days": 1}
    second = await visitor.submit("admin/hotel-tracking/destination/1", again)
    third = await visitor.submit("admin/hotel-tracking/destination/1", again)

    assert second["result"]["price_drops"] > 0
    assert (second["result"]["alerts_raised"], third["result"]["alerts_raised"]) == (1, 0)
    await eventually(lambda: visitor.system.mail, 30)
    (kept,) = visitor.system.mail
    mail = email.message_from_bytes(kept.read_bytes(), policy=email.policy.default)
    assert mail["Subject"] == "Price Alert: Hotel Deal Found!"
    assert hotel["name"] in kept.read_text()


def _day(ahead: int) -> str:
    return f"{TODAY + timedelta(days=ahead)}"


async def _push(visitor: Visitor) -> None:
    browser = await visitor.sandbox("POST", "push/subscriptions")
    await visitor.post("push/subscriptions", browser)
    push = {"user_id": visitor.id, "title": "₹ 900 in Goa", "message": "Sea View is cheaper"}
    task = await visitor.submit("tasks/notification", push)
    assert (task["status"], task["result"]["sent_to"]) == ("success", 1), task["error_message"]
    (subscription,) = (await visitor.sandbox("GET", "books"))["push"]["subscriptions"].values()
    (received,) = subscription["receipts"]
    assert (received["content"]["title"], received["content"]["body"]) == (push["title"], push["message"])


async def _payments(visitor: Visitor) -> None:
    """Make four payments: one succeeds, one is declined, one needs the customer's confirmation, and
    the answer to one is lost.
    """
    paid = await visitor.pay("pm_card_visa")
    assert (paid["status"], paid["result"]["status"]) == ("success", "succeeded")
    declined = await visitor.pay("pm_card_chargeDeclined")
    assert declined["status"] == "failure"
    assert "declined" in declined["error_message"]
    to_confirm = await visitor.pay("pm_card_authenticationRequired")
    assert (to_confirm["result"]["success"], to_confirm["result"]["status"]) == (False, "requires_action")
    assert to_confirm["result"]["client_secret"]
    await visitor.sandbox("POST", "faults", {"service": "stripe", "drop": "after"})
    lost = await visitor.pay("pm_card_visa")
    assert (lost["status"], lost["attempt"], lost["failures"]) == ("success", 2, 1)
    charges = (await visitor.sandbox("GET", "books"))["stripe"]["charges"]
    payments = [task["result"]["payment_id"] for task in (paid, lost)]
    assert sorted(charge["payment"] for charge in charges) == sorted(payments)
