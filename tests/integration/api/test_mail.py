"""Unsubscribing, by the link in a mail and when signed in."""

from typing import Any
from uuid import uuid4

from shared.hotel import mailing
from tests.integration.api.conftest import Client, Person

ONE_CLICK = {"List-Unsubscribe": "One-Click"}


async def link_of(person: Person, database: Any) -> str:
    """As the worker makes it with the first mail."""
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


async def test_whoever_is_signed_in_chooses_for_himself(
    guest: Person, administrator: Person, client: Client
) -> None:
    for choice in (False, False, True):
        body = {"price_alerts": choice}
        answer = await client.put("/api/v1/auth/me/mail", json=body, headers=guest.headers)
        assert answer.json() == body
        assert await wants(guest) == body
        assert await wants(administrator) == {"price_alerts": True}
