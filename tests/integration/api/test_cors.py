"""Tests of CORS: pages of other origins can call the API from a browser if a setting lists their
origin.
"""

import dataclasses
from collections.abc import AsyncIterator

import pytest
from litestar.testing import AsyncTestClient

from services.api import app
from shared.settings import Settings
from tests.integration.api.conftest import Client, Person

ORIGIN, STRANGER = "https://app.example.com", "https://example.org"
ASKED = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "idempotency-key"}


@pytest.fixture
async def open_to_pages(settings: Settings) -> AsyncIterator[Client]:
    given = dataclasses.replace(settings, cors_origins=f"{ORIGIN}, http://localhost:5173")
    async with AsyncTestClient(app.build(given)) as client:
        yield client


async def test_a_named_origin_may_send_requests_and_read_answers(
    guest: Person, open_to_pages: Client
) -> None:
    asked = await open_to_pages.options("/api/v1/tasks", headers={"Origin": ORIGIN, **ASKED})
    assert asked.status_code in (200, 204)
    assert asked.headers["access-control-allow-origin"] == ORIGIN
    assert "POST" in asked.headers["access-control-allow-methods"]
    assert "idempotency-key" in asked.headers["access-control-allow-headers"].lower()
    for headers, status in ((guest.headers, 200), ({}, 401)):
        answer = await open_to_pages.get("/api/v1/tasks", headers={"Origin": ORIGIN, **headers})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, ORIGIN)
        assert "Retry-After" in answer.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in answer.headers


async def test_other_origins_are_refused(guest: Person, open_to_pages: Client, client: Client) -> None:
    for served, origin in ((open_to_pages, STRANGER), (client, ORIGIN)):
        headers = {"Origin": origin, **guest.headers}
        for answer in (
            await served.get("/api/v1/tasks", headers=headers),
            await served.options("/api/v1/tasks", headers=headers | ASKED),
        ):
            assert "access-control-allow-origin" not in answer.headers
