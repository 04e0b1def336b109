"""Tests of the API's documentation page, its OpenAPI schema, and its metrics."""

import re
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from prometheus_client import generate_latest

from tests.integration.api.conftest import Client, Person
from tests.metric_values import value

ROUTE = 'path="/api/v1/tasks/{task_id}"'


async def test_the_page_loads_nothing_from_elsewhere(client: Client) -> None:
    page = await client.get("/docs")
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    loaded = re.findall(r'(?:href|src)="([^"]+)"', page.text)
    assert len(loaded) == 4
    assert all(not urlsplit(address).netloc for address in loaded)
    for address in loaded:
        assert (await client.get(address)).status_code == 200
    start = (await client.get("/docs/start.js")).text
    assert "//" not in start
    assert "validatorUrl: null" in start


@pytest.mark.parametrize(
    "name", ["%00", "swagger-ui.css%00", "x" * 5_000, "no-such-file", "..%2f..%2fapp.py"]
)
async def test_a_file_that_is_not_there_is_a_problem_document(client: Client, name: str) -> None:
    answer = await client.get(f"/docs/assets/{name}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


async def test_the_schema_documents_how_to_authorize(client: Client) -> None:
    schema = (await client.get("/api/v1/schema/openapi.json")).json()
    (scheme,) = schema["components"]["securitySchemes"].items()
    assert (scheme[1]["type"], scheme[1]["scheme"].lower()) == ("http", "bearer")
    assert schema["paths"]["/api/v1/tasks"]["post"]["security"] == [{scheme[0]: []}]
    assert "security" not in schema["paths"]["/api/v1/auth/login"]["post"]


async def test_the_schema_documents_every_error_as_a_problem(client: Client) -> None:
    schema = (await client.get("/api/v1/schema/openapi.json")).json()
    errors = [
        list(response["content"])
        for path, operations in schema["paths"].items()
        for operation in operations.values()
        for status, response in operation["responses"].items()
        if status >= "400" and path.startswith("/api/")
    ]
    assert len(errors) > 30
    assert all(content == ["application/problem+json"] for content in errors)


async def test_metrics_count_requests_by_route(guest: Person, client: Client) -> None:
    for _ in range(3):
        await guest.get(f"tasks/{uuid4()}")
    assert (await client.get("/metrics")).status_code == 404
    lines = generate_latest().decode().splitlines()
    counts = [line for line in lines if line.startswith("often_http_requests_total{") and ROUTE in line]
    counted = next(line for line in counts if 'method="GET"' in line and 'status_code="404"' in line)
    assert float(counted.rpartition(" ")[2]) >= 3


async def test_metrics_count_submissions(guest: Person) -> None:
    def submitted() -> float:
        return value("often_tasks_submitted_total", queue="default", task="system.health_check")

    before = submitted()
    await guest.post("tasks", {"name": "system.health_check", "params": {}})
    assert submitted() == before + 1
