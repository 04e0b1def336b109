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
IDS = {"account_id": 1, "destination_id": 1, "name": "health.hourly", "queue": "maintenance"}
#: Tasks in a state that an example needs, by its path.
TASKS = {
    "/api/v1/tasks/{task_id}": ("pending", None),
    "/api/v1/tasks/{task_id}/run-now": ("pending", None),
    "/api/v1/tasks/{task_id}/retry": ("failure", "bug"),
    "/api/v1/tasks/{task_id}/release": ("failure", "crash_loop"),
}
MAKE_TASK = """
    INSERT INTO task (id, name, type, contract_version, queue, priority, params, max_attempts, status,
                      error_kind, send_at, completed_at)
    VALUES (uuidv7(), 'system.health_check', 'system', 1, 'default', 5, '{}', 1, $1, $2,
            CASE WHEN $1 = 'pending' THEN now() + interval '1 h' END,
            CASE WHEN $1 = 'failure' THEN now() END)
    RETURNING id
"""
WORKERS = [f"/api/v1/workers/{{worker_id}}/{asked}" for asked in ("quiet", "drain", "recycle")]
MAKE_WORKER = """
    INSERT INTO worker (id, hostname, pid, queues, threads, lock_key, protocol)
    VALUES (uuidv7(), 'test', 1, '{nowhere}', 1, $1, 1000) RETURNING id
"""
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
    things = await _things(database)
    examples = _examples((await client.get("/api/v1/schema/openapi.json")).json())
    ids = {**IDS, **await _failed(administrator, database)}

    answers = {}
    for path in dict.fromkeys([*FIRST, *examples]):
        method, body = examples[path]
        sent = path.format(**{**ids, **things.get(path, {})})
        headers = {
            **administrator.headers,
            "Idempotency-Key": path,
        }  # the page asks for it where it is needed
        answers[path] = await client.request(method, sent, json=body, headers=headers)

    refused = {path: answer.text for path, answer in answers.items() if answer.status_code >= 400}
    assert refused == {}
    assert len(answers) > (15 if HOTEL else 6)


async def _things(database: Any) -> dict[str, dict[str, Any]]:
    """Ids of tasks and workers that examples need, by path."""
    tasks = {path: {"task_id": await database.fetchval(MAKE_TASK, *state)} for path, state in TASKS.items()}
    workers = {
        path: {"worker_id": await database.fetchval(MAKE_WORKER, number)}
        for number, path in enumerate(WORKERS)
    }
    return tasks | workers


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
