"""Builds the ASGI application of the API: its routers, the middleware that each request passes, and
the resources that requests share.
"""

from collections.abc import Sequence

from litestar import Litestar, Router
from litestar.config.cors import CORSConfig
from litestar.handlers import BaseRouteHandler
from litestar.middleware import DefineMiddleware
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.routes import HTTPRoute

from services.api.applications import Routes, account_mail_of, rights_of, routes_of
from services.api.audit import routes as audit
from services.api.bulk import routes as bulk
from services.api.console import admission
from services.api.console import routes as console
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

#: Maximum size in bytes of the body of a request without credentials: room for two passwords and an
#: address.
PUBLIC_BODY_BYTES = 16_384
#: Path prefix of the versioned routes. It is not a router around them, because Litestar copies all
#: routes again for each router that contains them.
VERSIONED = "/api/v1"


def build(settings: Settings, contracts: Catalogue | None = None) -> Litestar:
    """Build the ASGI application. It opens its connections at startup, and starts even if all
    servers are unavailable.

    Raises SettingsError if a contract has sensitive fields and there is no key to encrypt them.
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
            _public(resources),
            _signed_in(resources, added),
            _open(resources, added),
            console.router(settings.secret_key, resources.callers, resources.limits, resources.rights),
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
    resources.rights.check(api, _admits)
    _resolve_in_turn(api)
    api.asgi_handler = Envelope(api.asgi_handler, resources.drain, resources.changes.follow)
    return api


def _public(resources: Resources) -> Router:
    """Router of the sign-in routes. They need no credentials and are rate-limited by address; those
    that hash a password have a stricter limit.
    """
    limits = resources.limits
    sign_in = Router("", route_handlers=[identity.SIGN_IN], guards=[limits.by_sign_in])
    return Router(
        VERSIONED,
        route_handlers=[sign_in, identity.RENEWAL, identity.VERIFICATION],
        guards=[limits.by_address],
        request_max_body_size=PUBLIC_BODY_BYTES,
    )


def _signed_in(resources: Resources, added: Sequence[Routes]) -> Router:
    """Router of the routes below `/api/v1` that need credentials."""
    signed_in = DefineMiddleware(
        auth.SignedIn, callers=resources.callers, limits=resources.limits, rights=resources.rights
    )
    return Router(
        VERSIONED,
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
            bulk.ROUTER,
            *(handler for each in added for handler in each.signed_in),
        ],
        middleware=[signed_in],
        security=auth.SECURITY,
        dependencies=auth.provided(resources.callers),
    )


def _open(resources: Resources, added: Sequence[Routes]) -> Router:
    """Router of the routes outside `/api/v1`. They need no credentials and are rate-limited by
    address.
    """
    handlers = [handler for each in added for handler in each.public]
    return Router(
        "",
        route_handlers=[entrance.root, documentation.router(), identity.PAGES, *handlers],
        guards=[resources.limits.by_address],
        request_max_body_size=PUBLIC_BODY_BYTES,
    )


def _admits(handler: BaseRouteHandler) -> bool:
    """True for a route that needs credentials. Some routes accept a token, others a cookie; no
    route accepts both.
    """
    return auth.admits(handler, auth.SignedIn) or auth.admits(handler, admission.HasCookie)


def _resolve_in_turn(api: Litestar) -> None:
    """Make Litestar resolve the injected arguments of handlers one by one, because all of them are
    available immediately.

    By default, Litestar starts an asyncio task for each argument, which takes 6 % of the time of a
    submission.
    """
    for route in api.routes:
        if isinstance(route, HTTPRoute):
            for _, model in route.route_handler_map.values():
                model.dependency_batches = [{each} for batch in model.dependency_batches for each in batch]


def _cors(settings: Settings) -> CORSConfig | None:
    """Configure CORS, so that browsers let pages of the configured origins read the API's answers.
    Cookies are not allowed, because callers send their credentials in a header.
    """
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
