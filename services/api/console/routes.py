"""Collects all routes below `/console`, and the checks that requests to them pass."""

from litestar import Router
from litestar.di import Provide
from litestar.middleware import DefineMiddleware

from services.api.console import (
    accounts,
    audit,
    backfill,
    bulk,
    csrf,
    error_groups,
    go,
    keys,
    overview,
    preferences,
    queues,
    schedules,
    servers,
    sign_in,
    static_files,
    stream,
    submit,
    task,
    task_edit,
    task_export,
    tasks,
    unmask,
    views,
    workers,
    workflow,
    workflows,
)
from services.api.console.admission import HasCookie, viewer
from services.api.console.errors import ErrorPages, no_page
from services.api.console.pages import Pages
from services.api.console.static_files import StaticFiles
from services.api.http.export_streams import ExportStreams
from services.api.identity import auth
from services.api.identity.callers import Callers
from services.api.identity.rate_limits import RateLimits
from services.api.identity.rights import Rights

#: Maximum size in bytes of a submitted form, enough for 256 kB of task parameters with every
#: character escaped.
FORM_BYTES = 1_048_576
#: Maximum size in bytes of a form that is sent without a session, which contains an address and a
#: password.
SIGN_IN_BYTES = 16_384


def router(secret_key: str, callers: Callers, limits: RateLimits, rights: Rights) -> Router:
    """Router of the console's pages, which accept the session cookie and no other credentials."""
    files, tokens, exports = StaticFiles(), csrf.Tokens(secret_key), ExportStreams()
    pages = Pages(tokens, files, rights)
    return Router(
        "/console",
        route_handlers=[_open(limits), _signed_in(tokens, callers, limits, rights)],
        dependencies={
            "pages": Provide(lambda: pages, sync_to_thread=False),
            "task_exports": Provide(lambda: exports, sync_to_thread=False),
            "static_files": Provide(lambda: files, sync_to_thread=False),
        },
        exception_handlers={Exception: ErrorPages(pages).respond},
        include_in_schema=False,
    )


def _open(limits: RateLimits) -> Router:
    """Router of the console's routes for callers that are not signed in: the static files and the
    sign-in.
    """
    login = Router("", route_handlers=[sign_in.login], guards=[limits.by_sign_in])
    return Router(
        "",
        route_handlers=[static_files.static_file, sign_in.show_login, login, no_page],
        guards=[limits.by_address],
        request_max_body_size=SIGN_IN_BYTES,
    )


def _signed_in(tokens: csrf.Tokens, callers: Callers, limits: RateLimits, rights: Rights) -> Router:
    has_cookie = DefineMiddleware(HasCookie, callers=callers, limits=limits, rights=rights)
    return Router(
        "",
        route_handlers=[
            overview.overview,
            preferences.choose,
            sign_in.logout,
            stream.stream,
            tasks.list_tasks,
            task_export.export_csv,
            task_export.export_json_lines,
            views.save,
            views.remove,
            tasks.cancel,
            tasks.retry,
            go.go,
            submit.show_new,
            submit.submit,
            task.show_task,
            stream.task_stream,
            task_edit.show_edit,
            task_edit.edit,
            task_edit.run_now,
            task_edit.release,
            task_edit.show_stack,
            bulk.list_acts,
            bulk.show_preview,
            bulk.start,
            bulk.show_act,
            bulk.stop,
            workflows.list_workflows,
            workflow.show_workflow,
            workflow.cancel,
            workflow.retry,
            error_groups.list_errors,
            error_groups.show_error,
            error_groups.decide,
            queues.list_queues,
            queues.pause,
            queues.resume,
            queues.purge,
            workers.list_workers,
            workers.quiet,
            workers.drain,
            workers.recycle,
            schedules.list_schedules,
            schedules.show_schedule,
            schedules.fire,
            schedules.switch,
            backfill.show_backfill,
            backfill.submit,
            servers.show_servers,
            audit.list_audit,
            accounts.list_accounts,
            accounts.change,
            keys.list_keys,
            keys.make,
            keys.revoke_all,
            keys.revoke,
            unmask.unmask,
        ],
        middleware=[has_cookie],
        before_request=tokens.check,
        dependencies={
            **auth.provided(callers),
            "viewer": Provide(viewer, sync_to_thread=False),
        },
        request_max_body_size=FORM_BYTES,
    )
