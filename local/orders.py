"""The hotel application's part of the demo: hotel searches, a scan, a push message, every kind of
payment.
"""

import asyncio
import secrets
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import httpx


class Post(Protocol):
    """Type of a function that sends a POST request to a path below /api/v1, and returns the
    answer.
    """

    def __call__(self, path: str, body: Any, *, key: str | None = None) -> Awaitable[Any]:
        """Send the request. With a `key`, repeated requests with the same key are carried out
        once.
        """


PLACES = ("Goa", "Jaipur", "Kochi", "Nowhere")
#: First and last day of the hotel stay, as numbers of days from today.
STAY = {"check_in": 14, "check_out": 16}
#: Stripe's test cards that the demo pays with: two that are accepted, one that is declined, and one
#: that the customer has to confirm.
CARDS = ("pm_card_visa", "pm_card_visa", "pm_card_chargeDeclined", "pm_card_authenticationRequired")


async def submit(post: Post, user_id: int, sandbox: str) -> list[str]:
    """Submit the hotel tasks and return their ids. The user also gets a push subscription, of a
    browser that the sandbox simulates.
    """
    stay = {name: f"{datetime.now(UTC) + timedelta(days=ahead):%Y-%m-%d}" for name, ahead in STAY.items()}
    await post("push/subscriptions", await _browser(sandbox))
    wanted = [post("tasks/hotel-search", {"destination": place, **stay}) for place in PLACES]
    wanted += [
        post(
            "tasks/payment",
            {"user_id": user_id, "amount": "4999.00", "currency": "INR", "payment_method": card},
            key=secrets.token_hex(16),
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
