"""Tests of the routes by which administrators list and change accounts."""

import asyncio
from typing import Any

import pytest

from shared.settings import Settings
from tests.integration.api.conftest import Client, Person, side_by_side


async def test_accounts_are_listed_in_pages_and_found_by_the_start_of_their_address(
    administrator: Person, database: Any
) -> None:
    await database.execute(
        "INSERT INTO account (email, password_hash)"
        " SELECT format('guest_%s@often.example', i), '' FROM generate_series(1, 5) AS i"
    )
    await database.execute("INSERT INTO account (email, password_hash) VALUES ('guestx1@often.example', '')")
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await administrator.get("accounts", email="Guest_", limit=2, **cursor)).json()
        seen += [item["email"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == [f"guest_{i}@often.example" for i in range(1, 6)]
    assert len((await administrator.get("accounts")).json()["items"]) == 7
    assert (await administrator.get("accounts", email="%")).json()["items"] == []


BAD_QUERIES: list[Any] = [("limit", "0"), ("cursor", "abc"), ("email", "a\x00"), ("role", "user")]


async def test_a_bad_query_parameter_is_named(administrator: Person, subtests: pytest.Subtests) -> None:
    for key, value in BAD_QUERIES:
        with subtests.test(key=key, value=value):
            answer = await administrator.get("accounts", **{key: value})
            assert answer.status_code == 400
            assert [error["field"] for error in answer.json()["errors"]] == [key]


async def test_a_role_counts_from_the_next_request_on(administrator: Person, guest: Person) -> None:
    assert (await guest.get("accounts")).status_code == 403
    changed = await administrator.patch(f"accounts/{guest.id}", {"role": "administrator"})
    assert (changed.status_code, changed.json()["role"]) == (200, "administrator")
    assert changed.json() == (await guest.get("auth/me")).json()
    assert (await guest.get(f"accounts/{administrator.id}")).status_code == 200


async def test_omitted_fields_stay_and_a_name_can_be_removed(administrator: Person, guest: Person) -> None:
    named = (await administrator.patch(f"accounts/{guest.id}", {"full_name": "Ann"})).json()
    assert (named["full_name"], named["role"], named["is_active"]) == ("Ann", "user", True)
    assert (await administrator.patch(f"accounts/{guest.id}", {"role": "viewer"})).json()[
        "full_name"
    ] == "Ann"
    assert (await administrator.patch(f"accounts/{guest.id}", {"full_name": None})).json()[
        "full_name"
    ] is None


async def test_deactivating_ends_sessions_permanently_and_suspends_keys(
    client: Client, administrator: Person, guest: Person
) -> None:
    key = (await guest.post("keys", {"name": "a robot", "scopes": ["tasks:read"]})).json()["key"]
    robot = {"Authorization": f"Bearer {key}"}

    async def answers() -> list[int]:
        refresh = {"refresh_token": guest.refresh_token}
        return [
            (await guest.get("auth/me")).status_code,
            (await client.get("/api/v1/tasks", headers=robot)).status_code,
            (await client.post("/api/v1/auth/refresh", json=refresh)).status_code,
        ]

    await administrator.patch(f"accounts/{guest.id}", {"is_active": False})
    assert await answers() == [401, 401, 401]
    await administrator.patch(f"accounts/{guest.id}", {"is_active": True})
    assert await answers() == [401, 200, 401]


@pytest.mark.parametrize("change", [{"role": "operator"}, {"is_active": False}])
async def test_the_last_active_administrator_stays(
    administrator: Person, guest: Person, database: Any, change: Any
) -> None:
    # The other administrator is inactive and does not count, so the only active one must stay.
    await database.execute(
        "UPDATE account SET role = 'administrator', is_active = false WHERE id = $1", guest.id
    )
    answer = await administrator.patch(f"accounts/{administrator.id}", change | {"full_name": "Ann"})
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:often:problem:last-administrator")
    me = (await administrator.get("auth/me")).json()
    assert (me["role"], me["full_name"]) == ("administrator", None)
    assert (await administrator.patch(f"accounts/{guest.id}", {"is_active": True})).status_code == 200
    assert (await administrator.patch(f"accounts/{administrator.id}", change)).status_code == 200


async def test_one_of_two_administrators_who_demote_each_other_stays(
    administrator: Person, guest: Person, settings: Settings, database: Any
) -> None:
    async with side_by_side(settings) as client:
        administrator.client = guest.client = client
        for _ in range(5):
            await database.execute("UPDATE account SET role = 'administrator'")
            await asyncio.gather(
                administrator.patch(f"accounts/{guest.id}", {"role": "user"}),
                guest.patch(f"accounts/{administrator.id}", {"role": "user"}),
            )
            left = await database.fetchval("SELECT count(*) FROM account WHERE role = 'administrator'")
            assert left == 1


BAD_CHANGES: list[Any] = [
    ({}, ""),
    ({"role": "king"}, "role"),
    ({"role": None}, "role"),
    ({"is_active": "no"}, "is_active"),
    ({"full_name": "A\x00"}, "full_name"),
    ({"email": "x@often.example"}, "email"),
]


async def test_a_bad_change_names_the_field(
    administrator: Person, guest: Person, subtests: pytest.Subtests
) -> None:
    for change, field in BAD_CHANGES:
        with subtests.test(change=change, field=field):
            answer = await administrator.patch(f"accounts/{guest.id}", change)
            assert answer.status_code == 400
            assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_an_unknown_account_is_not_found(administrator: Person, subtests: pytest.Subtests) -> None:
    for unknown in [0, -1, 10**12, 2**63, 10**30]:
        with subtests.test(unknown=unknown):
            assert (await administrator.get(f"accounts/{unknown}")).status_code == 404
            assert (await administrator.patch(f"accounts/{unknown}", {"role": "user"})).status_code == 404
