"""The routes that submit tasks of any kind, one by one or in batches."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import HeaderParameter, JSONBody

from services.api.http.documentation import example
from services.api.http.errors import documented
from services.api.identity.rights import Reader
from services.api.tasks.schemas import BatchBody, BatchSubmitted, NewTaskBody, Submitted
from services.api.tasks.submissions import Submissions
from services.api.words import plural

#: The task in the documented examples. It exists in every installation, whatever its applications.
HEALTH_CHECK: dict[str, Any] = {"name": "system.health_check", "params": {}}
#: Maximum size of the request body of a batch, in bytes. It has room for 10,000 tasks with 1.5 kB
#: of parameters each.
BATCH_BYTES = 16 * 2**20

#: The Idempotency-Key header, for routes that require it.
RequiredKey = Annotated[
    str,
    HeaderParameter(
        name="Idempotency-Key",
        description="Choose a new one for each submission; for 24 hours, the same key and body count as one "
        "submission",
    ),
]
IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        description="For 24 hours, the same key and body return the first submission",
    ),
]


@post(
    "/tasks",
    summary="Submit a task",
    description="GET /api/v1/catalogue lists the names of tasks and their parameters.",
    operation_class=example(HEALTH_CHECK | {"priority": 5, "delay_s": 10}),
    status_code=202,
    responses=documented(400, 401, 403, 409, 413, 422),
)
async def submit(
    data: JSONBody[NewTaskBody],
    reader: NamedDependency[Reader],
    submissions: NamedDependency[Submissions],
    idempotency_key: IdempotencyKey = None,
) -> Response[Submitted]:
    task = submissions.new_task(data, reader)
    once = submissions.once(idempotency_key, reader, "tasks", data)
    task_id, is_new = await submissions.submit_one(task, reader, once)
    return submitted(task_id, data.name, is_new)


@post(
    "/tasks/batch",
    summary="Submit many tasks, all or none",
    operation_class=example({"tasks": [HEALTH_CHECK, HEALTH_CHECK | {"priority": 3}]}),
    status_code=202,
    request_max_body_size=BATCH_BYTES,
    responses=documented(400, 401, 403, 409, 413),
)
async def submit_batch(
    data: JSONBody[BatchBody],
    reader: NamedDependency[Reader],
    submissions: NamedDependency[Submissions],
    idempotency_key: IdempotencyKey = None,
) -> Response[BatchSubmitted]:
    once = submissions.once(idempotency_key, reader, "tasks/batch", data)
    ids, is_new = await submissions.submit_batch(data.tasks, reader, once)
    accepted = plural(len(ids), "task is", "tasks are")
    message = f"{accepted} accepted; GET /api/v1/tasks shows their progress."
    return Response(BatchSubmitted(ids, "queued", message), status_code=202, headers=_replayed(is_new))


def submitted(task_id: UUID, name: str, is_new: bool) -> Response[Submitted]:
    """Build the response for one accepted task."""
    message = f"{name} is accepted; GET /api/v1/tasks/{task_id} shows its progress."
    return Response(Submitted(task_id, "queued", message), status_code=202, headers=_replayed(is_new))


def _replayed(is_new: bool) -> dict[str, str]:
    return {} if is_new else {"Idempotent-Replayed": "true"}
