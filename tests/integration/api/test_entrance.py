"""Tests of the address `/`, and of HEAD on every address that answers GET."""

from urllib.parse import urlsplit

import pytest

from tests.integration.api.conftest import Client, Person


async def test_programs_get_the_addresses_of_the_api(client: Client, guest: Person) -> None:
    answer = await client.get("/")
    addresses = answer.json()
    assert addresses.pop("name") == "Often Tasks"
    assert addresses.keys() == {"docs", "openapi", "catalogue", "health"}
    for address in addresses.values():
        assert (await client.get(address, headers=guest.headers)).status_code == 200


async def test_browsers_are_sent_to_the_documentation(client: Client) -> None:
    accept = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    answer = await client.get("/", headers=accept, follow_redirects=False)
    assert (answer.status_code, urlsplit(answer.headers["location"]).path) == (302, "/docs")
    assert answer.headers["vary"] == "Accept"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/health/live", 200),
        ("/health/ready", 200),
        ("/metrics", 404),
        ("/docs", 200),
        ("/docs/assets/swagger-ui.css", 200),
        ("/api/v1/tasks", 200),
        ("/api/v1/auth/me", 200),
        ("/api/v1/accounts", 403),
        ("/api/v1/nowhere", 404),
        ("/api/v1/auth/login", 405),
    ],
)
async def test_head_answers_as_get_without_the_body(guest: Person, path: str, status: int) -> None:
    headers = {**guest.headers, "Accept-Encoding": "identity"}
    got, headed = [await guest.client.request(method, path, headers=headers) for method in ("GET", "HEAD")]
    assert (got.status_code, headed.status_code, headed.content) == (status, status, b"")
    assert headed.headers["content-type"] == got.headers["content-type"]
    assert headed.headers["content-length"] == got.headers["content-length"]


async def test_head_needs_the_same_rights(client: Client) -> None:
    assert (await client.head("/api/v1/tasks")).status_code == 401
