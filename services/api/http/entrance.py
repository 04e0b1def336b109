"""The route `/`: it redirects people to the documentation, and lists the API's addresses for
programs.
"""

from typing import Any

from litestar import Request, Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.response import Redirect

from services.api.http import documentation
from services.api.http.schemas import Answer

DOCS = "/docs"


class Entrance(Answer):
    """The answer that tells a program the addresses of the parts of this API."""

    name: str = "Often Tasks"
    docs: str = DOCS
    openapi: str = f"{documentation.SCHEMA_PATH}/openapi.json"
    catalogue: str = "/api/v1/catalogue"
    health: str = "/health/ready"


@get(
    "/",
    summary="Addresses of this API",
    tags=["documentation"],
    sync_to_thread=False,
    responses={302: ResponseSpec(None, description="Browsers are sent to the page /docs")},
)
def root(request: Request[Any, Any, Any]) -> Response[Entrance]:
    """Redirect browsers, which prefer HTML, to the documentation. Answer all others with the list
    of addresses.
    """
    headers = {"Vary": "Accept"}
    if "text/html" in request.headers.get("accept", ""):
        return Redirect(DOCS, headers=headers)
    return Response(Entrance(), headers=headers)
