"""Builds the API: its areas, what each request passes, and the resources that requests share."""

from collections.abc import Sequence

from litestar import Litestar, Router
from litestar.config.cors import CORSConfig
from litestar.middleware import DefineMiddleware
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.routes import HTTPRoute

from services.api.applications import Routes, account_mail_of, rights_of, routes_of
from services.api.audit import routes as audit
from services.api.http import documentation, entrance, health, request_ids
from services.api.http.body import StrictRequest
from services.api.http.envelope import Envelope
from services.api.http.errors import respond
from services.api.http.passage import Passage
from services.api.identity import auth
from services.api.identity import routes as identity
from services.api.live import routes as live
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
        middleware=[
            DefineMiddleware(
                Passage, timeout_s=settings.request_timeout.total_seconds(), schema=resources.schema
            )
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
    resources.rights.check(api, auth.admits)
    _resolve_in_turn(api)
    api.asgi_handler = Envelope(api.asgi_handler, resources.drain, resources.changes.follow)
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
    signed_in = DefineMiddleware(
        auth.SignedIn, callers=resources.callers, limits=resources.limits, rights=resources.rights
    )
    return Router(
        "",
        route_handlers=[
            identity.ACCOUNTS,
            identity.KEYS,
            personal.ROUTER,
            quotas.ROUTER,
            audit.ROUTER,
            tasks.ROUTER,
            live.ROUTER,
            workflows.ROUTER,
            schedules.ROUTER,
            operations.ROUTER,
            *(handler for each in added for handler in each.signed_in),
        ],
        middleware=[signed_in],
        security=auth.SECURITY,
        dependencies=auth.provided(resources.callers),
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


def _resolve_in_turn(api: Litestar) -> None:
    """What handlers ask for is at hand, and is handed over one by one.

    Litestar itself starts a task for each thing, in case that it takes time: 6 % of a submission.
    """
    for route in api.routes:
        if isinstance(route, HTTPRoute):
            for _, model in route.route_handler_map.values():
                model.dependency_batches = [{each} for batch in model.dependency_batches for each in batch]


def _cors(settings: Settings) -> CORSConfig | None:
    """Browsers let pages of these origins read answers. No cookies: callers send their credentials."""
    if not settings.origins:
        return None
    return CORSConfig(
        allow_origins=settings.origins,
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=[
            "Authorization",
            "Content-Type",
            "Idempotency-Key",
            "Last-Event-ID",
            request_ids.HEADER,
        ],
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
