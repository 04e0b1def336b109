"""Example requests to the hotel application's routes: one for each route that has a request body,
or an id in its path.
"""

import secrets
from collections.abc import Callable
from typing import Any

from shared.hotel import mailing
from tests.integration.api.conftest import Person
from tests.integration.api.examples import Belongings, Example

#: A browser's public key for Web Push that is valid: the generator point of the curve P-256.
P256DH = "BGsX0fLhLEJH-Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"


async def belongings(person: Person, database: Any) -> dict[str, str]:
    """Insert one row of each kind that a person can own in the hotel application, and a hotel and a
    destination.
    """
    token = await database.fetchval(
        'INSERT INTO mail_preference ("user", kind) VALUES ($1, $2) RETURNING token',
        person.id,
        mailing.PRICE_ALERTS,
    )
    hotel, destination = await _sights(database)
    subscription = await database.fetchval(
        'INSERT INTO push_subscription ("user", endpoint, p256dh, auth) VALUES ($1, $2, $3, $4) RETURNING id',
        *(person.id, f"https://push.example.com/{secrets.token_hex(8)}", "-", "-"),
    )
    alert = await database.fetchval(
        'INSERT INTO price_alert ("user", hotel) VALUES ($1, $2) RETURNING id', person.id, hotel
    )
    return {
        "token": str(token),
        "subscription_id": str(subscription),
        "alert_id": str(alert),
        "hotel_id": str(hotel),
        "destination_id": str(destination),
    }


async def _sights(database: Any) -> tuple[int, int]:
    """Create a hotel and a destination, which belong to no account."""
    name = secrets.token_hex(8)
    country = await database.fetchval(
        "INSERT INTO country (code, name) VALUES ('IN', 'India')"
        " ON CONFLICT (code) DO UPDATE SET name = excluded.name RETURNING id"
    )
    destination = await database.fetchval(
        "INSERT INTO destination (country, name, slug) VALUES ($1, $2, $2) RETURNING id", country, name
    )
    hotel = await database.fetchval(
        "INSERT INTO hotel (provider, external_id, name) VALUES ('serpapi', $1, $1) RETURNING id", name
    )
    return hotel, destination


def _added(mine: Belongings, name: str, body: Any = None) -> Example:
    return Example({name: mine.added[name]}, body)


def _task(mine: Belongings) -> Example:
    return Example({"task_id": mine.task_id})


def _payment(mine: Belongings) -> dict[str, Any]:
    card = {"payment_method": "pm_card_visa"}
    return {"user_id": mine.person.id, "amount": "12.50", "currency": "USD"} | card


EXAMPLES: dict[str, Callable[[Belongings], Example]] = {
    "PUT /api/v1/auth/me/mail": lambda _: Example(body={"price_alerts": False}),
    "POST /api/v1/tasks/email": lambda mine: Example(
        body={"user_id": mine.person.id, "email_type": "welcome"}
    ),
    "POST /api/v1/tasks/hotel-search": lambda _: Example(
        body={"destination": "Goa", "check_in": "2099-01-01", "check_out": "2099-01-02"}
    ),
    "POST /api/v1/tasks/notification": lambda mine: Example(
        body={"user_id": mine.person.id, "title": "Hello", "message": "there"}
    ),
    "POST /api/v1/tasks/payment": lambda mine: Example(body=_payment(mine)),
    "POST /api/v1/tasks/sync-hotels": lambda _: Example(),
    "POST /api/v1/admin/hotel-tracking/start": lambda _: Example(),
    "POST /api/v1/admin/hotel-tracking/destination/{destination_id}": lambda mine: _added(
        mine, "destination_id", {"days": 1}
    ),
    "GET /api/v1/admin/hotel-tracking/status/{task_id}": _task,
    "GET /api/v1/admin/hotel-tracking/logs/{task_id}": _task,
    "GET /api/v1/admin/hotel-tracking/logs/{task_id}/stream": lambda mine: Example(
        {"task_id": mine.ended_task_id}
    ),
    "POST /api/v1/push/subscriptions": lambda mine: Example(
        body={
            "endpoint": f"https://push.example.com/{mine.person.id}",
            "keys": {"p256dh": P256DH, "auth": "AAECAwQFBgcICQoLDA0ODw"},
        }
    ),
    "DELETE /api/v1/push/subscriptions/{subscription_id}": lambda mine: _added(mine, "subscription_id"),
    "POST /api/v1/price-alerts": lambda mine: Example(body={"hotel_id": int(mine.added["hotel_id"])}),
    "DELETE /api/v1/price-alerts/{alert_id}": lambda mine: _added(mine, "alert_id"),
    "GET /unsubscribe/{token}": lambda mine: _added(mine, "token"),
    "POST /unsubscribe/{token}": lambda mine: _added(mine, "token"),
}
