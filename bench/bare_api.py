"""`python -m bench.bare_api`: a minimal Litestar application whose answers are constant.

It runs on uvloop and httptools and decodes the body of a POST, as the API does. Requests to the API
are compared with requests to this application, so the difference is the cost of the API's own work.
"""

import gc
import os
from typing import Any
from uuid import UUID

import uvicorn
from litestar import Litestar, get, post
from litestar.params import JSONBody

from services.api.tasks.schemas import NewTaskBody, Submitted

PATH = "/constant"

_ANSWER = Submitted(UUID(int=0), "queued", "system.health_check is accepted; it goes nowhere.")


@post(PATH, status_code=202)
async def constant(data: JSONBody[NewTaskBody]) -> Submitted:
    return _ANSWER


@get("/health/ready")
async def ready() -> dict[str, Any]:
    return {}


def main() -> None:
    application = Litestar(route_handlers=[constant, ready], openapi_config=None, logging_config=None)
    gc.freeze()
    uvicorn.run(
        application,
        host="127.0.0.1",
        port=int(os.environ["OFTEN_API_PORT"]),
        loop="uvloop",
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
    )


if __name__ == "__main__":
    main()
