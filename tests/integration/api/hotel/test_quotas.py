"""Tests which routes of the hotel application use its daily quotas."""

from typing import Any

import pytest

from shared.hotel.settings import HotelSettings
from shared.settings import Settings
from tests.integration.api.conftest import Client, Person, SignUp
from tests.integration.api.serving import Serve, serving

SEARCH = {"destination": "Goa", "check_in": "2099-01-01", "check_out": "2099-01-02"}


@pytest.fixture
def serve(settings: Settings) -> Serve:
    return serving(settings)


def _hotel(**quotas: Any) -> dict[str, Any]:
    return {"for_applications": {HotelSettings: HotelSettings(**quotas)}}


async def _post(client: Client, person: Person, path: str, body: Any) -> Any:
    return await client.post(f"/api/v1/{path}", json=body, headers=person.headers)


def _search(person: Person) -> dict[str, Any]:
    return {"name": "hotels.search", "params": {"user_id": person.id, **SEARCH}}


async def test_every_route_to_a_search_uses_one_daily_quota(
    guest: Person, administrator: Person, sign_up: SignUp, serve: Serve
) -> None:
    other = await sign_up()
    async with serve(**_hotel(quota_searches="user=3")) as client:
        assert (await _post(client, guest, "tasks/hotel-search", SEARCH)).status_code == 202
        assert (await _post(client, guest, "tasks", _search(guest))).status_code == 202
        two = {"tasks": [_search(guest), _search(guest)]}
        refused = await _post(client, guest, "tasks/batch", two)
        assert refused.status_code == 429
        assert (refused.json()["quota"], refused.json()["amount"]) == ("searches", 3)
        assert 1 <= int(refused.headers["retry-after"]) <= 86_400
        assert (await _post(client, guest, "tasks/hotel-search", SEARCH)).status_code == 202
        assert (await _post(client, guest, "tasks/hotel-search", SEARCH)).status_code == 429

        # A quota is for one account and one kind of task: other accounts are still accepted, and so
        # are other tasks of the same account.
        assert (await _post(client, other, "tasks/hotel-search", SEARCH)).status_code == 202
        assert (await _post(client, administrator, "tasks/hotel-search", SEARCH)).status_code == 202
        welcome = {"user_id": guest.id, "email_type": "welcome"}
        assert (await _post(client, guest, "tasks/email", welcome)).status_code == 202
        told = (await client.get("/api/v1/auth/me/quotas", headers=guest.headers)).json()
    left = {each["quota"]: each["left"] for each in told["quotas"]}
    assert (left["searches"], left["mails"]) == (0, 19)


async def test_processes_count_searches_together(guest: Person, serve: Serve) -> None:
    allowed = _hotel(quota_searches="user=1")
    async with serve(**allowed) as one, serve(**allowed) as other:
        assert (await _post(one, guest, "tasks/hotel-search", SEARCH)).status_code == 202
        assert (await _post(other, guest, "tasks/hotel-search", SEARCH)).status_code == 429


async def test_both_kinds_of_mail_use_one_quota(administrator: Person, serve: Serve) -> None:
    alert = {"hotel_name": "Sea View", "currency": "INR", "old_price": 9_000, "new_price": 7_450}
    mail = {"user_id": administrator.id}
    async with serve(**_hotel(quota_mails="administrator=1")) as client:
        body = mail | {"email_type": "price_alert", "data": alert}
        assert (await _post(client, administrator, "tasks/email", body)).status_code == 202
        refused = await _post(client, administrator, "tasks/email", mail | {"email_type": "welcome"})
    assert (refused.status_code, refused.json()["quota"]) == (429, "mails")


async def test_a_search_keeps_its_own_priority(guest: Person) -> None:
    asked = await guest.post("tasks", {**_search(guest), "priority": 7})
    refused = await guest.post("tasks", {**_search(guest), "priority": 8})
    assert (asked.status_code, refused.status_code) == (202, 400)
