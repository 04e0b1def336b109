"""Serves the documentation page of the API: Swagger UI from the installed package, with nothing
from other hosts.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from litestar import MediaType, Request, Response, Router, get
from litestar.exceptions import InternalServerException, NotFoundException
from litestar.openapi.spec import Operation
from litestar.static_files import create_static_files_router

from services.api.http.errors import respond
from services.api.http.problem import Problem

SCHEMA_PATH = "/api/v1/schema"

PAGE = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>Often Tasks</title>
  <link rel="icon" href="/docs/assets/favicon-32x32.png">
  <link rel="stylesheet" href="/docs/assets/swagger-ui.css">
</head>
<body>
  <div id="page"></div>
  <script src="/docs/assets/swagger-ui-bundle.js"></script>
  <script src="/docs/start.js"></script>
</body>
</html>
"""

# The setting `validatorUrl: null` keeps Swagger UI from sending the schema's address to a public
# validator.
START = f"""SwaggerUIBundle({{
  url: "{SCHEMA_PATH}/openapi.json",
  dom_id: "#page",
  deepLinking: true,
  persistAuthorization: true,
  validatorUrl: null,
}});
"""

#: Headers that keep the browser from loading anything from other hosts. Swagger UI needs inline
#: styles and images in data URLs.
POLICY = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " frame-ancestors 'none'"
}


@get("/docs", media_type=MediaType.HTML, include_in_schema=False, sync_to_thread=False)
def page() -> Response[str]:
    return Response(PAGE, headers=POLICY)


@get("/docs/start.js", media_type="text/javascript", include_in_schema=False, sync_to_thread=False)
def start() -> str:
    return START


def router() -> Router:
    """Return the router of the documentation page and of its files."""
    return Router("", route_handlers=[page, start, _assets()])


def example(body: Any, *, optional: bool = False) -> type[Operation]:
    """Add an example of a valid request body to the documentation of a handler.

    Pass the result as the handler's `operation_class`. Without an example, Swagger UI makes up a
    body from the schema, and the API usually refuses it. `optional` means that the request may have
    no body.
    """

    @dataclass
    class WithExample(Operation):
        def __post_init__(self) -> None:
            request: Any = self.request_body
            for media_type in request.content.values() if request else ():
                media_type.example = body
            if request and optional:
                request.required = False

    return WithExample


def _assets() -> Router:
    """Serve the static files of the package swagger-ui-py. Its Python code is never imported."""
    package = find_spec("swagger_ui")
    assert package is not None
    assert package.submodule_search_locations is not None
    folder = Path(package.submodule_search_locations[0]) / "static"
    # The file's name contains NUL or is too long for the file system. Answer 404 and not 500.
    impossible: dict[int | type[Exception], Any] = {ValueError: _no_file, InternalServerException: _no_file}
    return create_static_files_router(
        "/docs/assets", [folder], include_in_schema=False, exception_handlers=impossible
    )


def _no_file(request: Request[Any, Any, Any], _: Exception) -> Response[Problem]:
    return respond(request, NotFoundException())
