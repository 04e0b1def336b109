"""The examples on the page /docs: the API accepts each of them as it stands."""

from typing import Any

from tests.installed import HOTEL
from tests.integration.api.conftest import Client, Person

#: Examples that hold a token or a password of the caller, which no document can know.
PERSONAL = {
    *("/api/v1/auth/refresh", "/api/v1/auth/logout", "/api/v1/auth/password"),
    *("/api/v1/auth/verify", "/api/v1/auth/me/email", "/api/v1/auth/me"),
}
#: These create what later examples need.
FIRST = ["/api/v1/auth/register", "/api/v1/schedules"]
#: Values of the parameters in paths.
IDS = {"account_id": 1, "destination_id": 1, "name": "health.hourly"}
FAIL = """
    WITH step AS (UPDATE workflow_step SET state = 'failure', failed = 1)
    UPDATE task SET status = 'failure', completed_at = now(), send_at = NULL, sent_at = NULL
    WHERE workflow IS NOT NULL
"""


async def test_each_documented_example_is_accepted(
    client: Client, administrator: Person, database: Any
) -> None:
    assert administrator.id == 1
    if HOTEL:
        await _have_a_hotel(database)
    examples = _examples((await client.get("/api/v1/schema/openapi.json")).json())
    ids = {**IDS, **await _failed(administrator, database)}

    answers = {}
    for path in dict.fromkeys([*FIRST, *examples]):
        method, body = examples[path]
        sent = path.format(**ids)
        headers = {
            **administrator.headers,
            "Idempotency-Key": path,
        }  # the page asks for it where it is needed
        answers[path] = await client.request(method, sent, json=body, headers=headers)

    refused = {path: answer.text for path, answer in answers.items() if answer.status_code >= 400}
    assert refused == {}
    assert len(answers) > (15 if HOTEL else 6)


async def _failed(person: Person, database: Any) -> dict[str, str]:
    """A workflow that has failed, and a task of another one."""
    step = {"step": "check", "task": "system.health_check", "params": {}}
    for _ in range(2):
        await person.post("workflows", {"name": "checks", "steps": [step]})
    await database.execute(FAIL)
    first, second = await database.fetch(
        "SELECT workflow, id FROM task WHERE workflow IS NOT NULL ORDER BY id"
    )
    return {"workflow_id": str(first["workflow"]), "task_id": str(second["id"])}


async def _have_a_hotel(database: Any) -> None:
    """A hotel and a destination, which the examples of the hotel application name."""
    await database.execute("INSERT INTO country (code, name) VALUES ('IN', 'India')")
    await database.execute(
        "INSERT INTO destination (country, name, slug) SELECT id, 'Goa', 'goa' FROM country"
    )
    await database.execute("INSERT INTO hotel (provider, external_id, name) VALUES ('x', '1', 'Sea View')")


def _examples(document: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    """Method and example of each operation that takes a body, by path."""
    return {
        path: (method, content["example"])
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        for content in operation.get("requestBody", {}).get("content", {}).values()
        if path not in PERSONAL
    }
