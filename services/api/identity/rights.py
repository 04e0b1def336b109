"""Access rights: one table of roles by route, and the one place that enforces it.

A new route needs one line in RIGHTS (or in PUBLIC); the application is not built without it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, cast

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.routes import HTTPRoute
from litestar.types import Guard, HTTPScope

from services.api.http.refusals import RoleForbids, ScopeMissing
from shared.identity.tables import Role


class Reach(IntEnum):
    """Whose things a request may reach."""

    NONE = 0
    OWN = 1
    ALL = 2


class Scope(StrEnum):
    """What an API key may be made for."""

    TASKS_READ = "tasks:read"
    TASKS_WRITE = "tasks:write"
    SCHEDULES_READ = "schedules:read"
    SCHEDULES_WRITE = "schedules:write"
    ACCOUNTS_READ = "accounts:read"
    ACCOUNTS_WRITE = "accounts:write"


class Right:
    """What one route asks of its caller."""

    def __init__(
        self, scope: Scope | None, user: Reach, viewer: Reach, operator: Reach, administrator: Reach
    ) -> None:
        #: The scope that an API key needs; None: API keys are refused.
        self.scope = scope
        self.reach = {
            Role.USER: user,
            Role.VIEWER: viewer,
            Role.OPERATOR: operator,
            Role.ADMINISTRATOR: administrator,
        }


NONE, OWN, ALL = Reach.NONE, Reach.OWN, Reach.ALL

#: Roles that may see tracebacks and submit tasks of contracts that are `staff_only`.
STAFF = frozenset({Role.OPERATOR, Role.ADMINISTRATOR})

#: By method and path. For routes that submit, ALL means that the recipient may be any account.
RIGHTS: dict[str, Right] = {
    # route                                     scope               user  viewer oper. admin.
    "GET /api/v1/auth/me": Right(Scope.ACCOUNTS_READ, OWN, OWN, OWN, OWN),
    "GET /api/v1/auth/me/quotas": Right(Scope.TASKS_READ, OWN, OWN, OWN, OWN),
    "POST /api/v1/auth/logout": Right(None, OWN, OWN, OWN, OWN),
    "POST /api/v1/auth/logout-all": Right(None, OWN, OWN, OWN, OWN),
    "POST /api/v1/auth/password": Right(None, OWN, OWN, OWN, OWN),
    "GET /api/v1/accounts": Right(Scope.ACCOUNTS_READ, NONE, NONE, NONE, ALL),
    "GET /api/v1/accounts/{account_id}": Right(Scope.ACCOUNTS_READ, NONE, NONE, NONE, ALL),
    "PATCH /api/v1/accounts/{account_id}": Right(Scope.ACCOUNTS_WRITE, NONE, NONE, NONE, ALL),
    "GET /api/v1/keys": Right(None, OWN, OWN, OWN, ALL),
    "POST /api/v1/keys": Right(None, OWN, OWN, OWN, OWN),
    "DELETE /api/v1/keys": Right(None, OWN, OWN, OWN, ALL),
    "DELETE /api/v1/keys/{key_id}": Right(None, OWN, OWN, OWN, ALL),
    "GET /api/v1/catalogue": Right(Scope.TASKS_READ, OWN, OWN, ALL, ALL),
    "GET /api/v1/tasks": Right(Scope.TASKS_READ, OWN, ALL, ALL, ALL),
    "POST /api/v1/tasks": Right(Scope.TASKS_WRITE, OWN, NONE, OWN, ALL),
    "POST /api/v1/tasks/batch": Right(Scope.TASKS_WRITE, OWN, NONE, OWN, ALL),
    "GET /api/v1/tasks/stats/summary": Right(Scope.TASKS_READ, OWN, ALL, ALL, ALL),
    "GET /api/v1/tasks/{task_id}": Right(Scope.TASKS_READ, OWN, ALL, ALL, ALL),
    "GET /api/v1/tasks/{task_id}/attempts": Right(Scope.TASKS_READ, OWN, ALL, ALL, ALL),
    "GET /api/v1/tasks/{task_id}/logs": Right(Scope.TASKS_READ, OWN, ALL, ALL, ALL),
    "GET /api/v1/tasks/{task_id}/result": Right(Scope.TASKS_READ, OWN, ALL, ALL, ALL),
    "POST /api/v1/tasks/{task_id}/retry": Right(Scope.TASKS_WRITE, NONE, NONE, ALL, ALL),
    "DELETE /api/v1/tasks/{task_id}": Right(Scope.TASKS_WRITE, OWN, NONE, ALL, ALL),
    "GET /api/v1/schedules": Right(Scope.SCHEDULES_READ, NONE, ALL, ALL, ALL),
    "POST /api/v1/schedules": Right(Scope.SCHEDULES_WRITE, NONE, NONE, ALL, ALL),
    "POST /api/v1/schedules/preview": Right(Scope.SCHEDULES_READ, NONE, ALL, ALL, ALL),
    "GET /api/v1/schedules/{name}": Right(Scope.SCHEDULES_READ, NONE, ALL, ALL, ALL),
    "PATCH /api/v1/schedules/{name}": Right(Scope.SCHEDULES_WRITE, NONE, NONE, ALL, ALL),
    "DELETE /api/v1/schedules/{name}": Right(Scope.SCHEDULES_WRITE, NONE, NONE, ALL, ALL),
    "POST /api/v1/schedules/{name}/fire": Right(Scope.SCHEDULES_WRITE, NONE, NONE, ALL, ALL),
    "GET /api/v1/schedules/{name}/firings": Right(Scope.SCHEDULES_READ, NONE, ALL, ALL, ALL),
}

#: Routes that need no credentials.
PUBLIC = frozenset(
    {
        "POST /api/v1/auth/register",
        "POST /api/v1/auth/login",
        "POST /api/v1/auth/refresh",
        "GET /api/v1/schema",
        "GET /api/v1/schema/openapi.json",
        "GET /api/v1/schema/{path}",
        "GET /",
        "GET /docs",
        "GET /docs/start.js",
        "GET /docs/assets/{file_path}",
        "HEAD /docs/assets/{file_path}",
        "GET /health/live",
        "GET /health/ready",
    }
)


@dataclass(frozen=True, slots=True)
class Reader:
    """The caller of a request, and whose things it may reach."""

    id: int
    role: Role
    reach: Reach

    def may_unmask(self, owner: int | None) -> bool:
        """True for the task's owner and for administrators."""
        return self.role is Role.ADMINISTRATOR or owner == self.id

    @property
    def is_staff(self) -> bool:
        """True for roles that may use what is restricted to staff."""
        return self.role in STAFF

    @property
    def sees_tracebacks(self) -> bool:
        return self.is_staff


class Rights:
    """The table of rights of one API: the platform's entries and those of its applications."""

    def __init__(self, entries: Mapping[str, Right], public: frozenset[str]) -> None:
        self.entries = entries
        #: Routes that need no credentials.
        self.public = public
        #: The guard of all protected routes. A function, because Litestar copies what a method belongs to.
        self.enforce: Guard = lambda connection, _: self._enforce(connection)

    def _enforce(self, connection: ASGIConnection[Any, Any, Any, Any]) -> None:
        """Raises RoleForbids or ScopeMissing."""
        scope = cast("HTTPScope", connection.scope)
        if scope["method"] == "OPTIONS":  # lists the methods of a path; needs no rights
            return
        route = f"{scope['method']} {scope['path_template']}"
        right, role, scopes = self.entries[route], connection.user.role, connection.auth.scopes
        if right.reach[role] is Reach.NONE:
            raise RoleForbids(role, [name for name, reach in right.reach.items() if reach is not Reach.NONE])
        if scopes is not None and right.scope not in scopes:
            raise ScopeMissing(right.scope)
        connection.state["reach"] = right.reach[role]

    def scopes_of(self, role: Role) -> frozenset[Scope]:
        """The scopes that have a use for this role."""
        return frozenset(
            right.scope for right in self.entries.values() if right.scope is not None and right.reach[role]
        )

    def check(self, app: Litestar) -> None:
        """Refuse an application whose routes and entries differ. Raises LookupError."""
        guarded, free = set[str](), set[str]()
        for route, handler in routes(app):
            (guarded if self.enforce in _guards(handler) else free).add(route)
        for found, entries, name in (
            (guarded, set(self.entries), "RIGHTS"),
            (free, set(self.public), "PUBLIC"),
        ):
            if found - entries:
                raise LookupError(f"routes without an entry in {name}: {', '.join(sorted(found - entries))}")
            if entries - found:
                raise LookupError(f"entries of {name} without a route: {', '.join(sorted(entries - found))}")


def routes(app: Litestar) -> Iterable[tuple[str, BaseRouteHandler]]:
    """Each route as RIGHTS spells it, with its handler."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                for method in handler.http_methods - {"OPTIONS"}:
                    yield f"{method} {route.path_format}", handler


def _guards(handler: BaseRouteHandler) -> list[Any]:
    return [guard for layer in handler.ownership_layers for guard in layer.guards or []]
