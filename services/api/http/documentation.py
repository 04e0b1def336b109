"""The page that explains the API: Swagger UI out of the installed package, nothing from elsewhere."""

from importlib.util import find_spec
from pathlib import Path

from litestar import MediaType, Response, Router, get
from litestar.static_files import create_static_files_router

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

# Without `validatorUrl: null` the page would send the schema's address to a public validator.
START = f"""SwaggerUIBundle({{
  url: "{SCHEMA_PATH}/openapi.json",
  dom_id: "#page",
  deepLinking: true,
  persistAuthorization: true,
  validatorUrl: null,
}});
"""

#: The browser refuses what would come from elsewhere. Swagger UI styles inline and draws with data URLs.
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


def assets() -> Router:
    """Serves the files of the package swagger-ui-py, whose own code is never imported."""
    package = find_spec("swagger_ui")
    assert package is not None
    assert package.submodule_search_locations is not None
    folder = Path(package.submodule_search_locations[0]) / "static"
    return create_static_files_router("/docs/assets", [folder], include_in_schema=False)
