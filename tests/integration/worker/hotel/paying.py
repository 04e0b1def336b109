"""Helpers for tests of payments: they create payments, and read the records of the simulated
payment service and our own.
"""

from typing import Any
from uuid import UUID

from local import outside
from shared.hotel import billing
from shared.hotel.contracts.payments import PROCESS, ProcessPayment
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
