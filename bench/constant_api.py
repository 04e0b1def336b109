"""`python -m bench.constant_api`: the API with an extra route that does everything that a
submission does, except storing a task.

The route is one of the task routes, so it has the same middleware, guards and dependencies. It
decodes the same body, checks the same parameters and returns a constant.
"""

from uuid import UUID

from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from services.api.__main__ import main
from services.api.identity import rights
from services.api.identity.rights import Reader
from services.api.tasks import routes
from services.api.tasks.schemas import NewTaskBody, Submitted
from services.api.tasks.submission_routes import IdempotencyKey
from services.api.tasks.submissions import Submissions

PATH = "/api/v1/tasks/constant"

_ANSWER = Submitted(UUID(int=0), "queued", "system.health_check is accepted; it goes nowhere.")


@post("/tasks/constant", status_code=202)
async def constant(
    data: JSONBody[NewTaskBody],
    reader: NamedDependency[Reader],
    submissions: NamedDependency[Submissions],
    idempotency_key: IdempotencyKey = None,
) -> Response[Submitted]:
    submissions.new_task(data, reader)
    return Response(_ANSWER, status_code=202)


if __name__ == "__main__":
    rights.RIGHTS[f"POST {PATH}"] = rights.RIGHTS["POST /api/v1/tasks"]
    routes.ROUTER.register(constant)
    main()
