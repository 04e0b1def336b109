"""A request to each route that has a body or an id in its path; test_rights.py sends them for every role.

A new route needs an entry here. It must succeed for the person whose things it names, and has to name a thing
of that person (an id, a token, a password) wherever the route takes one.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.integration.api.conftest import Person

#: Somebody's public key: the generator of the curve.
P256DH = "BGsX0fLhLEJH-Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"


@dataclass(frozen=True)
class Belongings:
    """A person, and one of each thing that a person may own."""

    person: Person
    #: Not due yet.
    task_id: str
    ended_task_id: str
    key_id: str
    unsubscribe_token: str
    schedule: str
    subscription_id: int
    alert_id: int
    hotel_id: int
    destination_id: int


@dataclass(frozen=True)
class Example:
    """What to send."""

    #: Values of the parameters in the path.
    ids: dict[str, str] = field(default_factory=dict)
    body: Any = None


def _task(mine: Belongings) -> Example:
    return Example({"task_id": mine.task_id})


def _account(mine: Belongings) -> Example:
    return Example({"account_id": str(mine.person.id)}, {"full_name": "Ann"})


def _schedule(mine: Belongings) -> Example:
    return Example({"name": mine.schedule})


def _new_schedule(mine: Belongings) -> dict[str, Any]:
    return {
        "name": f"{mine.schedule}.another",
        "task_name": "system.health_check",
        "params": {},
        "kind": "interval",
        "expression": "1 h",
    }


def _welcome(mine: Belongings) -> dict[str, Any]:
    return {"name": "email.send_welcome", "params": {"user_id": mine.person.id}}


def _payment(mine: Belongings) -> dict[str, Any]:
    card = {"payment_method": "pm_card_visa"}
    return {"user_id": mine.person.id, "amount": "12.50", "currency": "USD"} | card


def _credentials(mine: Belongings) -> dict[str, str]:
    return {"email": mine.person.email, "password": mine.person.password}


def _refresh_token(mine: Belongings) -> Example:
    return Example(body={"refresh_token": mine.person.refresh_token})


EXAMPLES: dict[str, Callable[[Belongings], Example]] = {
    "POST /api/v1/auth/register": lambda mine: Example(
        body={"email": f"new-{mine.person.email}", "password": "correct horse"}
    ),
    "POST /api/v1/auth/login": lambda mine: Example(body=_credentials(mine)),
    "POST /api/v1/auth/refresh": _refresh_token,
    "POST /api/v1/auth/logout": _refresh_token,
    "POST /api/v1/auth/logout-all": lambda _: Example(),
    "POST /api/v1/auth/password": lambda mine: Example(
        body={"current_password": mine.person.password, "new_password": "battery staple"}
    ),
    "PUT /api/v1/auth/me/mail": lambda _: Example(body={"price_alerts": False}),
    "GET /api/v1/accounts/{account_id}": _account,
    "PATCH /api/v1/accounts/{account_id}": _account,
    "POST /api/v1/keys": lambda _: Example(body={"name": "a robot", "scopes": ["accounts:read"]}),
    "DELETE /api/v1/keys/{key_id}": lambda mine: Example({"key_id": mine.key_id}),
    "POST /api/v1/tasks": lambda mine: Example(body=_welcome(mine)),
    "POST /api/v1/tasks/email": lambda mine: Example(
        body={"user_id": mine.person.id, "email_type": "welcome"}
    ),
    "POST /api/v1/tasks/batch": lambda mine: Example(body={"tasks": [_welcome(mine)]}),
    "GET /api/v1/tasks/{task_id}": _task,
    "GET /api/v1/tasks/{task_id}/attempts": _task,
    "GET /api/v1/tasks/{task_id}/logs": _task,
    "GET /api/v1/tasks/{task_id}/result": lambda mine: Example({"task_id": mine.ended_task_id}),
    "POST /api/v1/tasks/{task_id}/retry": lambda mine: Example({"task_id": mine.ended_task_id}),
    "DELETE /api/v1/tasks/{task_id}": _task,
    "POST /api/v1/tasks/hotel-search": lambda _: Example(
        body={"destination": "Goa", "check_in": "2099-01-01", "check_out": "2099-01-02"}
    ),
    "POST /api/v1/tasks/notification": lambda mine: Example(
        body={"user_id": mine.person.id, "title": "Hello", "message": "there"}
    ),
    "POST /api/v1/tasks/payment": lambda mine: Example(body=_payment(mine)),
    "POST /api/v1/tasks/sync-hotels": lambda _: Example(),
    "POST /api/v1/admin/hotel-tracking/start": lambda _: Example(),
    "POST /api/v1/admin/hotel-tracking/destination/{destination_id}": lambda mine: Example(
        {"destination_id": str(mine.destination_id)}, {"days": 1}
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
    "DELETE /api/v1/push/subscriptions/{subscription_id}": lambda mine: Example(
        {"subscription_id": str(mine.subscription_id)}
    ),
    "POST /api/v1/price-alerts": lambda mine: Example(body={"hotel_id": mine.hotel_id}),
    "DELETE /api/v1/price-alerts/{alert_id}": lambda mine: Example({"alert_id": str(mine.alert_id)}),
    "POST /api/v1/schedules": lambda mine: Example(body=_new_schedule(mine)),
    "POST /api/v1/schedules/preview": lambda _: Example(body={"kind": "interval", "expression": "1 h"}),
    "GET /api/v1/schedules/{name}": _schedule,
    "PATCH /api/v1/schedules/{name}": lambda mine: Example({"name": mine.schedule}, {"enabled": False}),
    "DELETE /api/v1/schedules/{name}": _schedule,
    "POST /api/v1/schedules/{name}/fire": _schedule,
    "GET /api/v1/schedules/{name}/firings": _schedule,
    "GET /api/v1/schema/{path}": lambda _: Example({"path": "openapi.json"}),
    "GET /docs/assets/{file_path}": lambda _: Example({"file_path": "swagger-ui.css"}),
    "HEAD /docs/assets/{file_path}": lambda _: Example({"file_path": "swagger-ui.css"}),
    "GET /unsubscribe/{token}": lambda mine: Example({"token": mine.unsubscribe_token}),
    "POST /unsubscribe/{token}": lambda mine: Example({"token": mine.unsubscribe_token}),
}
