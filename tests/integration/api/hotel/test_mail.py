"""Tests of submitting mail tasks, and of unsubscribing by the link in a mail or when signed in."""

import json
from typing import Any
from uuid import uuid4

import pytest

from shared.hotel import mailing
from tests.integration.api.conftest import Client, Person, SignUp

PRICES = {"currency": "INR", "old_price": 2.0, "new_price": 1.0}
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


async def link_of(person: Person, database: Any) -> str:
    """Insert the row that a worker inserts with an account's first mail.

    Returns the path of its unsubscribe link.
    """
    insert = 'INSERT INTO mail_preference ("user", kind) VALUES ($1, $2) RETURNING token'
    return f"/unsubscribe/{await database.fetchval(insert, person.id, mailing.PRICE_ALERTS)}"


async def wants(person: Person) -> Any:
    return (await person.get("auth/me/mail")).json()


async def test_one_click_unsubscribes_and_a_second_changes_nothing(
    guest: Person, client: Client, database: Any
) -> None:
    link = await link_of(guest, database)
    assert await wants(guest) == {"price_alerts": True}
    for _ in range(2):
        answer = await client.post(link, data=ONE_CLICK)
        assert answer.status_code == 200
        assert await wants(guest) == {"price_alerts": False}


async def test_opening_the_link_shows_a_page_and_changes_nothing(
    guest: Person, client: Client, database: Any
) -> None:
    answer = await client.get(await link_of(guest, database))
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert '<form method="post">' in answer.text
    assert await wants(guest) == {"price_alerts": True}


async def test_an_unknown_link_is_refused(client: Client) -> None:
    for token, status in ((uuid4(), 404), ("no-token", 404)):
        assert (await client.post(f"/unsubscribe/{token}", data=ONE_CLICK)).status_code == status


async def test_a_signed_in_user_chooses_their_own_mails(
    guest: Person, administrator: Person, client: Client
) -> None:
    for choice in (False, False, True):
        body = {"price_alerts": choice}
        answer = await client.put("/api/v1/auth/me/mail", json=body, headers=guest.headers)
        assert answer.json() == body
        assert await wants(guest) == body
        assert await wants(administrator) == {"price_alerts": True}


async def test_guests_may_mail_themselves(guest: Person, database: Any) -> None:
    answer = await guest.post("tasks/email", {"user_id": guest.id, "email_type": "welcome"})
    assert answer.status_code == 202
    row = await database.fetchrow("SELECT name, params FROM task")
    assert (row["name"], json.loads(row["params"])) == ("email.send_welcome", {"user_id": guest.id})


async def test_guests_cannot_mail_other_accounts(guest: Person, sign_up: SignUp, database: Any) -> None:
    other = await sign_up()
    answer = await guest.post("tasks/email", {"user_id": other.id, "email_type": "welcome"})
    assert answer.status_code == 403
    assert answer.json()["errors"] == [{"field": "user_id", "rule": "must be your own id"}]
    assert await database.fetchval("SELECT count(*) FROM task") == 0


async def test_an_administrator_mails_any_existing_account(administrator: Person, guest: Person) -> None:
    statuses = [
        (await administrator.post("tasks/email", {"user_id": user_id, "email_type": "welcome"})).status_code
        for user_id in (guest.id, guest.id + 1_000, 2**63 - 1)
    ]
    assert statuses == [202, 422, 422]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"email_type": "welcome"}, "user_id"),
        ({"user_id": 0, "email_type": "welcome"}, "user_id"),
        ({"user_id": 1, "email_type": "goodbye"}, "email_type"),
        ({"user_id": 1, "email_type": "price_alert", "data": PRICES | {"hotel_name": 1}}, "data.hotel_name"),
        ({"user_id": 1, "email_type": "welcome", "data": {"to": "x"}}, "data.to"),
    ],
)
async def test_a_bad_mail_names_the_field_and_stores_nothing(
    guest: Person, database: Any, body: Any, field: str
) -> None:
    answer = await guest.post("tasks/email", body)
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert await database.fetchval("SELECT count(*) FROM task") == 0
