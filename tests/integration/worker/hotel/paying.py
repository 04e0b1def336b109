"""Helpers for tests of payments: they create payments, and read the records of the simulated
payment service and our own.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

from local import outside
from services.worker.hotel import charging
from services.worker.hotel.charging import Payment
from services.worker.hotel.gateways.provider import Pace
from services.worker.hotel.gateways.stripe import Charge, StripeGateway
from shared.hotel import billing
from shared.hotel.contracts.payments import PROCESS, ProcessPayment
from shared.hotel.settings import HotelSettings
from shared.ledger.transitions.operate import RETRY, UNEDITED
from tests.platform import VAPID_PRIVATE_KEY, Platform
from tests.sandbox import Sandbox

CARD, CONFIRMED_CARD, SLOW_CARD = "pm_card_visa", "pm_card_authenticationRequired", "pm_sandbox_processing"
DECLINED_CARD, CUSTOMER = "pm_card_chargeDeclined", "cus_asha"


def settings(sandbox: Sandbox, **more: str) -> dict[str, str]:
    """Settings that make a worker use the sandbox (the simulated outside services)."""
    return outside.stand_ins({}, sandbox.url, VAPID_PRIVATE_KEY).environment | more


async def account(platform: Platform) -> int:
    (row,) = await platform.rows(
        "INSERT INTO account (email, password_hash) VALUES ('asha@often-hotels.example', '-')"
        " ON CONFLICT (email) DO UPDATE SET email = excluded.email RETURNING id"
    )
    return int(row["id"])


async def pay(platform: Platform, card: str = CARD) -> UUID:
    """Submit a payment. Returns the task's id."""
    user = await account(platform)
    await platform.rows(billing.BIND_CUSTOMER, CUSTOMER, user)
    params = ProcessPayment(
        user_id=user,
        amount="1250.00",
        currency="INR",
        payment_method=card,
        customer=CUSTOMER,
    )
    (task_id,) = await platform.submit(PROCESS, params)
    return task_id


def wanted(card: str = CARD, *, payment_id: UUID | None = None, amount_minor: int = 125_000) -> Charge:
    """A charge to be requested from the gateway."""
    return Charge(
        amount_minor=amount_minor,
        currency="INR",
        payment_method=card,
        customer=CUSTOMER,
        payment_id=payment_id or uuid4(),
    )


async def payment(platform: Platform, task_id: UUID) -> dict[str, Any]:
    (row,) = await platform.rows("SELECT * FROM payment WHERE task = {}", task_id)
    return row


async def books(sandbox: Sandbox) -> dict[str, Any]:
    of_stripe: dict[str, Any] = (await sandbox.books())["stripe"]
    return of_stripe


async def charged_once(platform: Platform, sandbox: Sandbox, task_id: UUID) -> None:
    """Check that exactly one charge was made, both in the payment service's records and in ours."""
    row = await payment(platform, task_id)
    assert row["status"] == "succeeded"
    assert (await books(sandbox))["charges"] == [
        {"intent": row["intent"], "amount": 125_000, "currency": "inr", "payment": str(row["id"])}
    ]


async def at_once(platform: Platform, task_id: UUID) -> None:
    """Make a task that waits in Postgres due now, so that the scheduler sends it."""
    await platform.rows("UPDATE task SET send_at = now() WHERE id = {} AND send_at IS NOT NULL", task_id)


async def a_day_later(platform: Platform, sandbox: Sandbox, task_id: UUID) -> None:
    await platform.rows(
        "UPDATE payment SET key_used_at = key_used_at - interval '25 h', created_at = created_at -"
        " interval '25 h', updated_at = updated_at - interval '25 h' WHERE task = {}",
        task_id,
    )
    await sandbox.put("/sandbox/stripe", {"hours_later": 25})


async def children(platform: Platform, task_id: UUID) -> list[dict[str, Any]]:
    return await platform.rows(
        "SELECT id, name, params, extract(epoch FROM send_at - created_at)::float8 AS wait_s FROM task"
        " WHERE parent = {} ORDER BY id",
        task_id,
    )


async def opened(platform: Platform, task_id: UUID) -> Payment:
    """Insert or read the payment of a task, as an attempt does when it starts."""
    user = await account(platform)
    payment = await charging.open_payment(platform.database, task_id, user, 125_000, "INR")
    assert payment is not None
    return payment


async def another_account(platform: Platform) -> int:
    (row,) = await platform.rows(
        "INSERT INTO account (email, password_hash) VALUES ('ravi@often-hotels.example', '-') RETURNING id"
    )
    return int(row["id"])


async def retried(platform: Platform, task_id: UUID) -> dict[str, Any]:
    """Retry a payment as an operator. Returns the row of its task, which must succeed."""
    await platform.database.run(RETRY, id=task_id, reason="an operator", delay_s=None, **UNEDITED)
    row = await platform.until(task_id, "success", "failure")
    assert row["status"] == "success", row["error_message"]
    return row


def gateway_to_stripe(environment: Mapping[str, str], pace: Pace) -> StripeGateway:
    """The gateway of a worker with these settings."""
    configured = HotelSettings(
        stripe_key=environment["STRIPE_SECRET_KEY"], stripe_url=environment["STRIPE_BASE_URL"]
    )
    return StripeGateway.from_settings(configured, pace)
