"""What the demo asks for in the hotel application's name: searches, a scan, a push, every kind of payment."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

#: How a task is submitted: path below /api/v1, body, answer.
Post = Callable[[str, dict[str, Any]], Awaitable[Any]]

PLACES = ("Goa", "Jaipur", "Kochi", "Nowhere")
#: Days from today.
STAY = {"check_in": 14, "check_out": 16}
#: The sandbox's cards: good, declined, to be confirmed by the customer.
CARDS = ("pm_card_visa", "pm_card_visa", "pm_card_chargeDeclined", "pm_card_authenticationRequired")


async def submit(post: Post, user_id: int, sandbox: str) -> list[str]:
    """Ids of the tasks. The user gets a browser, which the sandbox plays."""
    stay = {name: f"{datetime.now(UTC) + timedelta(days=ahead):%Y-%m-%d}" for name, ahead in STAY.items()}
    await post("push/subscriptions", await _browser(sandbox))
    wanted = [post("tasks/hotel-search", {"destination": place, **stay}) for place in PLACES]
    wanted += [
        post(
            "tasks/payment",
            {"user_id": user_id, "amount": "4999.00", "currency": "INR", "payment_method": card},
        )
        for card in CARDS
    ]
    push = {"user_id": user_id, "title": "Your booking", "message": "See you on Friday!"}
    wanted += [post("tasks/notification", push), post("admin/hotel-tracking/start", {})]
    return [submitted["task_id"] for submitted in await asyncio.gather(*wanted)]


async def _browser(sandbox: str) -> dict[str, Any]:
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(f"{sandbox}/sandbox/push/subscriptions")
    subscription: dict[str, Any] = answer.raise_for_status().json()
    return subscription
