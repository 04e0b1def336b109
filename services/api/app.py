"""Builds the API: its areas, what each request passes, and the resources that requests share."""

from collections.abc import Sequence

from litestar import Litestar, Router
from litestar.config.cors import CORSConfig
from litestar.middleware import DefineMiddleware
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.plugins.prometheus import PrometheusConfig
from litestar.types import Middleware

from services.api.applications import Routes, account_mail_of, rights_of, routes_of
from services.api.audit import routes as audit
from services.api.http import allowed_methods, documentation, entrance, health, request_ids, security_headers
from services.api.http.body import StrictRequest
from services.api.http.deadline import Deadline
from services.api.http.errors import respond
from services.api.http.fit_database import FitDatabase
from services.api.http.head import Head
from services.api.identity import auth
from services.api.identity import routes as identity
from services.api.operations import routes as operations
from services.api.personal import routes as personal
from services.api.quotas import routes as quotas
from services.api.resources import Resources
from services.api.schedules import routes as schedules
from services.api.tasks import routes as tasks
from services.api.workflows import routes as workflows
from shared import applications
from shared.contracts import catalogue
from shared.contracts.catalogue import Catalogue
from shared.personal import directory
from shared.settings import Settings

#: Largest body of a request without credentials: two passwords and an address.
PUBLIC_BODY_BYTES = 16_384
#: `often_http_requests_total`, `often_http_request_duration_seconds` and more, by route template.
REQUESTS = PrometheusConfig(app_name="api", prefix="often_http", group_path=True, exclude=["^/health"])


def build(settings: Settings, contracts: Catalogue | None = None) -> Litestar:
    """The ASGI application. It connects when it starts, and starts while all servers are away.

    Raises SettingsError when a contract has sensitive fields and there is no key to seal them.
    """
    found = applications.find(settings.applications)
    added = routes_of(found)
    contracts = catalogue.load(found) if contracts is None else contracts
    resources = Resources(
        settings,
        contracts,
        rights_of(added),
        applications.tables(found),
        account_mail_of(found),
        directory.read(found, contracts),
    )
    api = Litestar(
        route_handlers=[
            Router("/api/v1", route_handlers=[_public(resources), _signed_in(resources, added)]),
            _open(resources, added),
            health.ROUTER,
        ],
        dependencies=resources.provided(),
        lifespan=[resources.serving],
        middleware=_middleware(resources),
        before_send=[
            request_ids.add,
            security_headers.add,
            allowed_methods.correct,
            resources.drain.close_connections,
        ],
        cors_config=_cors(settings),
        exception_handlers={Exception: respond},
        after_exception=[resources.refusals.note],
        openapi_config=_openapi(resources),
        request_class=StrictRequest,
        request_max_body_size=settings.max_body_bytes,
        logging_config=None,
    )
    api.state.drain = resources.drain
    resources.rights.check(api)
    api.asgi_handler = Head(api.asgi_handler)
    return api


def _public(resources: Resources) -> Router:
    """Signing in: without credentials, limited by address, and where passwords are hashed once more."""
    limits = resources.limits
    sign_in = Router("", route_handlers=[identity.SIGN_IN], guards=[limits.by_sign_in])
    return Router(
        "",
        route_handlers=[sign_in, identity.RENEWAL, identity.VERIFICATION],
        guards=[limits.by_address],
        request_max_body_size=PUBLIC_BODY_BYTES,
    )


def _signed_in(resources: Resources, added: Sequence[Routes]) -> Router:
    """Everything else below `/api/v1`."""
    callers = auth.Callers(resources.database, resources.sessions)
    authentication = DefineMiddleware(auth.Authentication, callers=callers, limits=resources.limits)
    return Router(
        "",
        route_handlers=[
            identity.ACCOUNTS,
            identity.KEYS,
            personal.ROUTER,
            quotas.ROUTER,
            audit.ROUTER,
            tasks.ROUTER,
            workflows.ROUTER,
            schedules.ROUTER,
            operations.ROUTER,
            *(handler for each in added for handler in each.signed_in),
        ],
        middleware=[authentication],
        guards=[resources.rights.enforce],
        security=auth.SECURITY,
        dependencies=callers.provided(),
    )


def _open(resources: Resources, added: Sequence[Routes]) -> Router:
    """Pages at the root: without credentials, limited by address."""
    handlers = [handler for each in added for handler in each.public]
    return Router(
        "",
        route_handlers=[entrance.root, documentation.router(), identity.PAGES, *handlers],
        guards=[resources.limits.by_address],
        request_max_body_size=PUBLIC_BODY_BYTES,
    )


def _middleware(resources: Resources) -> list[Middleware]:
    """Around all routes, the outermost first."""
    timeout_s = resources.settings.request_timeout.total_seconds()
    fit_database = DefineMiddleware(FitDatabase, schema=resources.schema)
    return [REQUESTS.middleware, DefineMiddleware(Deadline, timeout_s=timeout_s), fit_database]


def _cors(settings: Settings) -> CORSConfig | None:
    """Browsers let pages of these origins read answers. No cookies: callers send their credentials."""
    if not settings.origins:
        return None
    return CORSConfig(
        allow_origins=settings.origins,
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "Idempotency-Key", request_ids.HEADER],
        expose_headers=["Retry-After", "Idempotent-Replayed", request_ids.HEADER],
    )


def _openapi(resources: Resources) -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Often Tasks",
        version="1",
        openapi_router=Router(
            documentation.SCHEMA_PATH,
            route_handlers=[],
            guards=[resources.limits.by_address],
            include_in_schema=False,
        ),
        render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        components=auth.COMPONENTS,
    )
