"""An example request for each of the platform's API routes that has a body, or an id in
its path.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.integration.api.conftest import Person


@dataclass(frozen=True)
class Belongings:
    """A user, and the ids of resources that belong to this user, one of each kind."""

    person: Person
    #: Id of a task that is not due yet.
    task_id: str
    ended_task_id: str
    key_id: str
    schedule: str
    #: Id of a workflow whose only step is not due yet.
    workflow_id: str
    #: Id of a workflow whose only step has failed.
    failed_workflow_id: str
    #: Name of a paused queue.
    queue: str
    worker_id: str
    #: Fingerprint of a group of similar errors.
    fingerprint: str
    #: Id of a task that failed because its workers kept dying.
    crashed_task_id: str
    #: Id of a bulk operation whose task is not due yet.
    bulk_id: str
    #: Body of a request that starts a bulk operation. The preview that it requires has been made.
    bulk: dict[str, Any]
    #: Token with which the user can confirm the mail address.
    confirmation: str
    #: Ids of resources of the installed applications, by the name of the path parameter.
    added: dict[str, str]


@dataclass(frozen=True)
class Example:
    """A request to one route, of which the test knows the outcome."""

    #: Values of the path parameters, by name.
    ids: dict[str, str] = field(default_factory=dict)
    body: Any = None
    #: Status code of the error with which the API answers an authorized caller. None if the request
    #: succeeds.
    meets: int | None = None


def _task(mine: Belongings) -> Example:
    return Example({"task_id": mine.task_id})


def _account(mine: Belongings) -> Example:
    return Example({"account_id": str(mine.person.id)}, {"full_name": "Ann"})


def _schedule(mine: Belongings) -> Example:
    return Example({"name": mine.schedule})


def _queue(mine: Belongings) -> dict[str, str]:
    return {"queue": mine.queue}


def _worker(mine: Belongings) -> Example:
    return Example({"worker_id": mine.worker_id})


def _new_schedule(mine: Belongings) -> dict[str, Any]:
    return {
        "name": f"{mine.schedule}.another",
        "task_name": "system.health_check",
        "params": {},
        "kind": "interval",
        "expression": "1 h",
    }


def _greeting(mine: Belongings) -> dict[str, Any]:
    return {"name": "sample.greet", "params": {"user_id": mine.person.id}}


def _workflow(mine: Belongings) -> dict[str, Any]:
    params = {"user_id": mine.person.id}
    return {"name": "greetings", "steps": [{"step": "greet", "task": "sample.greet", "params": params}]}


def _credentials(mine: Belongings) -> dict[str, str]:
    return {"email": mine.person.email, "password": mine.person.password}


def _refresh_token(mine: Belongings) -> Example:
    return Example(body={"refresh_token": mine.person.refresh_token})


EXAMPLES: dict[str, Callable[[Belongings], Example]] = {
    "POST /api/v1/auth/register": lambda mine: Example(
        body={"email": f"new-{mine.person.email}", "password": "correct horse"}
    ),
    "POST /api/v1/auth/login": lambda mine: Example(body=_credentials(mine)),
    "POST /api/v1/auth/refresh": _refresh_token,
    "POST /api/v1/auth/logout": _refresh_token,
    "POST /api/v1/auth/logout-all": lambda _: Example(),
    "POST /api/v1/auth/password": lambda mine: Example(
        body={"current_password": mine.person.password, "new_password": "battery staple"}
    ),
    "POST /api/v1/auth/verify": lambda mine: Example(body={"token": mine.confirmation}),
    "GET /verify/{token}": lambda mine: Example({"token": mine.confirmation}),
    "POST /verify/{token}": lambda mine: Example({"token": mine.confirmation}),
    "POST /api/v1/auth/me/verification": lambda _: Example(),
    "PUT /api/v1/auth/me/email": lambda mine: Example(
        body={"email": f"new-{mine.person.email}", "password": mine.person.password}
    ),
    "GET /api/v1/accounts/{account_id}": _account,
    "PATCH /api/v1/accounts/{account_id}": _account,
    "DELETE /api/v1/accounts/{account_id}": lambda mine: Example({"account_id": str(mine.person.id)}),
    "DELETE /api/v1/auth/me": lambda mine: Example(body={"password": mine.person.password}),
    "POST /api/v1/keys": lambda _: Example(body={"name": "a robot", "scopes": ["accounts:read"]}),
    "DELETE /api/v1/keys": lambda _: Example(),
    "DELETE /api/v1/keys/{key_id}": lambda mine: Example({"key_id": mine.key_id}),
    "POST /api/v1/tasks": lambda mine: Example(body=_greeting(mine)),
    "POST /api/v1/tasks/batch": lambda mine: Example(body={"tasks": [_greeting(mine)]}),
    "GET /api/v1/tasks/{task_id}": _task,
    "GET /api/v1/tasks/{task_id}/attempts": _task,
    "GET /api/v1/tasks/{task_id}/logs": _task,
    "GET /api/v1/tasks/{task_id}/events": _task,
    "GET /api/v1/tasks/{task_id}/place": _task,
    "GET /api/v1/tasks/{task_id}/result": lambda mine: Example({"task_id": mine.ended_task_id}),
    "PATCH /api/v1/tasks/{task_id}": lambda mine: Example({"task_id": mine.task_id}, {"priority": 3}),
    "POST /api/v1/tasks/{task_id}/run-now": _task,
    "POST /api/v1/tasks/{task_id}/release": lambda mine: Example({"task_id": mine.crashed_task_id}),
    # The API answers with an error, because no worker is running the task.
    "GET /api/v1/tasks/{task_id}/stack": lambda mine: Example({"task_id": mine.task_id}, meets=409),
    "POST /api/v1/tasks/{task_id}/retry": lambda mine: Example({"task_id": mine.ended_task_id}),
    "DELETE /api/v1/tasks/{task_id}": _task,
    "POST /api/v1/workflows": lambda mine: Example(body=_workflow(mine)),
    "GET /api/v1/workflows/{workflow_id}": lambda mine: Example({"workflow_id": mine.workflow_id}),
    "GET /api/v1/workflows/{workflow_id}/events": lambda mine: Example({"workflow_id": mine.workflow_id}),
    "GET /api/v1/workflows/{workflow_id}/steps/{step}/tasks": lambda mine: Example(
        {"workflow_id": mine.workflow_id, "step": "check"}
    ),
    "POST /api/v1/workflows/{workflow_id}/retry": lambda mine: Example(
        {"workflow_id": mine.failed_workflow_id}
    ),
    "DELETE /api/v1/workflows/{workflow_id}": lambda mine: Example({"workflow_id": mine.workflow_id}),
    "POST /api/v1/bulk": lambda mine: Example(body=mine.bulk),
    "GET /api/v1/bulk/{bulk_id}": lambda mine: Example({"bulk_id": mine.bulk_id}),
    "DELETE /api/v1/bulk/{bulk_id}": lambda mine: Example({"bulk_id": mine.bulk_id}),
    "POST /api/v1/schedules": lambda mine: Example(body=_new_schedule(mine)),
    "POST /api/v1/schedules/preview": lambda _: Example(body={"kind": "interval", "expression": "1 h"}),
    "GET /api/v1/schedules/{name}": _schedule,
    "PATCH /api/v1/schedules/{name}": lambda mine: Example({"name": mine.schedule}, {"enabled": False}),
    "DELETE /api/v1/schedules/{name}": _schedule,
    "POST /api/v1/schedules/{name}/fire": _schedule,
    "POST /api/v1/schedules/{name}/backfill": lambda mine: Example(
        {"name": mine.schedule}, {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
    ),
    "GET /api/v1/schedules/{name}/firings": _schedule,
    "GET /api/v1/queues/{queue}": lambda mine: Example(_queue(mine)),
    "POST /api/v1/queues/{queue}/pause": lambda mine: Example(_queue(mine), {"reason": "a drill"}),
    "POST /api/v1/queues/{queue}/resume": lambda mine: Example(_queue(mine), {}),
    "POST /api/v1/queues/{queue}/purge": lambda mine: Example(_queue(mine), {"confirm": mine.queue}),
    "GET /api/v1/operations/errors/{fingerprint}": lambda mine: Example({"fingerprint": mine.fingerprint}),
    "PATCH /api/v1/operations/errors/{fingerprint}": lambda mine: Example(
        {"fingerprint": mine.fingerprint}, {"state": "muted"}
    ),
    "POST /api/v1/workers/{worker_id}/quiet": _worker,
    "POST /api/v1/workers/{worker_id}/drain": _worker,
    "POST /api/v1/workers/{worker_id}/recycle": _worker,
    "GET /api/v1/schema/{path}": lambda _: Example({"path": "openapi.json"}),
    "GET /docs/assets/{file_path}": lambda _: Example({"file_path": "swagger-ui.css"}),
    "HEAD /docs/assets/{file_path}": lambda _: Example({"file_path": "swagger-ui.css"}),
}
