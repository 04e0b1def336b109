"""Tests the examples on the page /docs: the API accepts each of them unchanged."""

from typing import Any

from tests.installed import HOTEL
from tests.integration.api.conftest import Client, Person

#: Paths that are not tested, because their example contains a token or password of the caller,
#: which the documentation cannot know.
PERSONAL = {
    *("/api/v1/auth/refresh", "/api/v1/auth/logout", "/api/v1/auth/password"),
    *("/api/v1/auth/verify", "/api/v1/auth/me/email", "/api/v1/auth/me"),
}
#: Paths whose examples run first, because they create what later examples need.
FIRST = ["/api/v1/auth/register", "/api/v1/schedules"]
#: Values for the path parameters of the examples.
IDS = {"account_id": 1, "destination_id": 1, "name": "health.hourly", "queue": "maintenance"}
#: State (status and error kind) of the task that the test creates for an example, by the example's
#: path.
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
ERROR = "/api/v1/operations/errors/{fingerprint}"
MAKE_ERROR_GROUP = """
    INSERT INTO error_group (fingerprint, name, kind, sample_task, first_at, last_at, first_release,
                             last_release)
    VALUES ('v2:a', 'sample.fail', 'bug', uuidv7(), now(), now(), '1', '1') RETURNING fingerprint
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
        # The documentation page asks its reader for the header Idempotency-Key.
        headers = {**administrator.headers, "Idempotency-Key": path}
        answers[path] = await client.request(method, sent, json=body, headers=headers)

    refused = {path: answer.text for path, answer in answers.items() if answer.status_code >= 400}
    assert refused == {}
    assert len(answers) > (15 if HOTEL else 6)


async def _things(database: Any) -> dict[str, dict[str, Any]]:
    """Create the tasks, workers and error group that examples need. Returns their ids by path."""
    tasks = {path: {"task_id": await database.fetchval(MAKE_TASK, *state)} for path, state in TASKS.items()}
    workers = {
        path: {"worker_id": await database.fetchval(MAKE_WORKER, number)}
        for number, path in enumerate(WORKERS)
    }
    return tasks | workers | {ERROR: {"fingerprint": await database.fetchval(MAKE_ERROR_GROUP)}}


async def _failed(person: Person, database: Any) -> dict[str, str]:
    """Create a failed workflow and a second workflow.

    Returns the id of the failed one, and the id of a task of the second.
    """
    step = {"step": "check", "task": "system.health_check", "params": {}}
    for _ in range(2):
        await person.post("workflows", {"name": "checks", "steps": [step]})
    await database.execute(FAIL)
    first, second = await database.fetch(
        "SELECT workflow, id FROM task WHERE workflow IS NOT NULL ORDER BY id"
    )
    return {"workflow_id": str(first["workflow"]), "task_id": str(second["id"])}


async def _have_a_hotel(database: Any) -> None:
    """Create the hotel and the destination that the hotel application's examples refer to."""
    await database.execute("INSERT INTO country (code, name) VALUES ('IN', 'India')")
    await database.execute(
        "INSERT INTO destination (country, name, slug) SELECT id, 'Goa', 'goa' FROM country"
    )
    await database.execute("INSERT INTO hotel (provider, external_id, name) VALUES ('x', '1', 'Sea View')")


def _examples(document: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    """Method and example body of each operation that has a request body, by path."""
    return {
        path: (method, content["example"])
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        for content in operation.get("requestBody", {}).get("content", {}).values()
        if path not in PERSONAL
    }
