"""Builds the application: everything that it needs, its routes, and what lives as long as it serves."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

from litestar import Litestar, Request, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.middleware import DefineMiddleware
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.plugins.prometheus import PrometheusConfig
from piccolo.engine.postgres import PostgresEngine

from services.api.applications import rights_of, routes_of
from services.api.http import allowed_methods as options
from services.api.http import documentation, health, security_headers
from services.api.http.body import StrictRequest
from services.api.http.deadline import Deadline
from services.api.http.errors import respond
from services.api.identity import account_routes as accounts
from services.api.identity import auth
from services.api.identity import key_routes as api_keys
from services.api.identity.account_schemas import Account
from services.api.identity.auth import AccessTokens, Authentication, Credential
from services.api.identity.passwords import Passwords
from services.api.identity.rate_limits import RateLimits
from services.api.identity.rights import Reach, Reader
from services.api.identity.sessions import Sessions
from services.api.schedules import routes as schedules
from services.api.schedules.schedule_view import ScheduleView
from services.api.schedules.schedules import Schedules
from services.api.tasks import submission_routes as submissions
from services.api.tasks import task_routes as tasks
from services.api.tasks.ledger_view import LedgerView
from services.api.tasks.submissions import Submissions
from shared import applications
from shared.contracts import catalogue
from shared.contracts.catalogue import Catalogue
from shared.errors import ServerUnavailable
from shared.keeper import Keeper
from shared.ledger import engine
from shared.settings import Settings
from shared.submission import MARK_EVERY_S, Submitter
from shared.telemetry import metrics
from shared.transport.queues import Queues, connect
from shared.vault import Vault

log = logging.getLogger(__name__)

#: One process has one core: more connections cost Postgres more than they bring.
POOL_SIZE = 10
#: A submission waits this long for Redis at most; then the dispatcher sends it.
REDIS_TIMEOUT_S = 1.0
#: What each step of closing may take; uvicorn gave the requests their time before.
CLOSE_TIMEOUT_S = 0.5

#: `often_http_requests_total`, `often_http_request_duration_seconds` and more, by route template.
REQUESTS = PrometheusConfig(
    app_name="api", prefix="often_http", group_path=True, exclude=["^/metrics", "^/health"]
)

Asked = Request[Account, Credential, State]

_PUBLIC = [accounts.register, accounts.login, accounts.refresh]
_ACCOUNTS = [
    accounts.me,
    accounts.logout,
    accounts.logout_all,
    accounts.change_password,
    accounts.list_accounts,
    accounts.get_account,
    accounts.change_account,
]
_KEYS = [api_keys.make, api_keys.list_keys, api_keys.revoke]
_SCHEDULES = [
    schedules.list_schedules,
    schedules.make,
    schedules.preview,
    schedules.get_schedule,
    schedules.change,
    schedules.remove,
    schedules.fire,
    schedules.list_firings,
]
_TASKS = [
    submissions.submit,
    submissions.submit_batch,
    tasks.list_tasks,
    tasks.summarise,
    tasks.get_task,
    tasks.get_result,
    tasks.list_attempts,
    tasks.list_logs,
    tasks.retry,
    tasks.cancel,
]


def build(settings: Settings, contracts: Catalogue | None = None) -> Litestar:
    """The ASGI application. Connects to nothing until it starts, and starts without any server.

    Raises SettingsError when a contract has sensitive fields and there is no key to seal them.
    """
    found = applications.find(settings.applications)
    contracts = catalogue.load(found) if contracts is None else contracts
    added = routes_of(found)
    rights = rights_of(added)
    vault = Vault.from_setting(settings.vault_keys)
    vault.require(contracts.by_name.values())
    for contract in contracts.by_name.values():
        metrics.expect_submissions(contract.queue, contract.name)
    postgres = engine.build(settings.database_url, application="api")
    queues = Queues(connect(settings.redis_url, socket_timeout_s=REDIS_TIMEOUT_S))
    submitter = Submitter(queues, vault)
    keeper = Keeper()
    passwords = Passwords()
    limits = RateLimits(settings.redis_url, settings.rate_limit_user, settings.rate_limit_address)
    access = AccessTokens(settings.secret_key, settings.access_token_life)
    provided: dict[str, object] = {
        "catalogue": contracts,
        "passwords": passwords,
        "rights": rights,
        "queues": queues,
        "sessions": Sessions(access, settings.refresh_token_life),
        "keeper": keeper,
        "ledger": LedgerView(contracts, vault),
        "schedules": Schedules(contracts, submitter, vault, rights),
        "view": ScheduleView(contracts, vault),
        "settings": settings,
        "submissions": Submissions(contracts, submitter, settings.secret_key),
    }

    @contextlib.asynccontextmanager
    async def serving(_: Litestar) -> AsyncIterator[None]:
        engine.bind(postgres)
        engine.bind(postgres, applications.tables(found))
        await engine.open_pool(postgres, size=POOL_SIZE)
        marking = asyncio.create_task(keeper.keep("marking", submitter.mark, every_s=MARK_EVERY_S))
        try:
            yield
        finally:
            await _stop(marking, submitter)
            await _close(postgres, queues, limits)
            passwords.close()

    signed_in = Router(
        "",
        route_handlers=[
            Router("", route_handlers=_ACCOUNTS, tags=["accounts"]),
            Router("", route_handlers=_KEYS, tags=["keys"]),
            Router("", route_handlers=_TASKS, tags=["tasks"]),
            Router("", route_handlers=_SCHEDULES, tags=["schedules"]),
            *(handler for each in added for handler in each.signed_in),
        ],
        middleware=[DefineMiddleware(Authentication, tokens=access, limits=limits)],
        guards=[rights.enforce],
        security=auth.SECURITY,
        dependencies={
            name: Provide(of, sync_to_thread=False)
            for name, of in {"user": _user, "reach": _reach, "reader": _reader}.items()
        },
    )
    public = Router("", route_handlers=_PUBLIC, tags=["accounts"], guards=[limits.by_address])
    docs: list[Any] = [documentation.page, documentation.start, documentation.assets()]
    app = Litestar(
        route_handlers=[
            Router("/api/v1", route_handlers=[public, signed_in]),
            Router("", route_handlers=docs, guards=[limits.by_address]),
            Router(
                "",
                route_handlers=[handler for each in added for handler in each.public],
                guards=[limits.by_address],
            ),
            *(health.live, health.ready, health.metrics),
        ],
        middleware=[
            REQUESTS.middleware,
            DefineMiddleware(Deadline, timeout_s=settings.request_timeout.total_seconds()),
        ],
        before_send=[security_headers.add, options.correct],
        dependencies={name: _always(value) for name, value in provided.items()},
        exception_handlers={Exception: respond},
        lifespan=[serving],
        logging_config=None,
        openapi_config=OpenAPIConfig(
            title="Often Tasks",
            version="1",
            openapi_router=Router(
                documentation.SCHEMA_PATH,
                route_handlers=[],
                guards=[limits.by_address],
                include_in_schema=False,
            ),
            render_plugins=[JsonRenderPlugin(path="/openapi.json")],
            components=auth.COMPONENTS,
        ),
        request_class=StrictRequest,
        request_max_body_size=settings.max_body_bytes,
    )
    rights.check(app)
    app.state["rights"] = rights
    return app


def _user(request: Asked) -> Account:
    return request.user


def _reach(request: Asked) -> Reach:
    reach: Reach = request.state.reach
    return reach


def _reader(request: Asked) -> Reader:
    return Reader(request.user.id, request.user.role, request.state.reach)


def _always(value: object) -> Provide:
    return Provide(lambda: value, sync_to_thread=False)


async def _stop(marking: "asyncio.Task[None]", submitter: Submitter) -> None:
    marking.cancel()
    await asyncio.gather(marking, return_exceptions=True)
    with contextlib.suppress(ServerUnavailable, TimeoutError):
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await submitter.mark()


async def _close(postgres: PostgresEngine, queues: Queues, limits: RateLimits) -> None:
    with contextlib.suppress(TimeoutError):  # the pool cuts its connections when its closing is cancelled
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await postgres.close_connection_pool()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await queues.client.aclose()
            await limits.close()
