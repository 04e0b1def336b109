"""Access rights: one table that maps routes to roles, and the one place that enforces it.

A new route needs an entry in RIGHTS or PUBLIC; otherwise the API does not start. If the route
changes something, the entry names the actions that the route records in the audit log, or the
reason why it records none.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Self

from litestar import Litestar
from litestar.handlers import BaseRouteHandler
from litestar.routes import HTTPRoute
from litestar.types import HTTPScope

from services.api.audit.actions import Action, Leaves, Unaudited
from services.api.audit.actor import Actor
from services.api.http.refusals import RoleForbids, ScopeMissing
from shared.identity.tables import Role


class Reach(IntEnum):
    """Whose data a request may reach: no account's, the caller's own, or that of all accounts."""

    NONE = 0
    OWN = 1
    ALL = 2


class Scope(StrEnum):
    """A scope: one permission that an API key can have."""

    TASKS_READ = "tasks:read"
    TASKS_WRITE = "tasks:write"
    SCHEDULES_READ = "schedules:read"
    SCHEDULES_WRITE = "schedules:write"
    ACCOUNTS_READ = "accounts:read"
    ACCOUNTS_WRITE = "accounts:write"
    OPERATIONS_READ = "operations:read"
    OPERATIONS_WRITE = "operations:write"


class Right:
    """The access rights of one route: the reach of each role, and the scope that an API key needs."""

    def __init__(
        self,
        scope: Scope | None,
        user: Reach,
        viewer: Reach,
        operator: Reach,
        administrator: Reach,
        leaves: Leaves = (),
    ) -> None:
        #: The scope that an API key needs for the route. None if the route refuses API keys.
        self.scope = scope
        #: The actions that the route records in the audit log, or the reason why it records none.
        self.leaves = leaves
        self.reach = {
            Role.USER: user,
            Role.VIEWER: viewer,
            Role.OPERATOR: operator,
            Role.ADMINISTRATOR: administrator,
        }


NONE, OWN, ALL = Reach.NONE, Reach.OWN, Reach.ALL

ACCOUNT_CHANGES = (
    Action.ACCOUNT_ROLE_CHANGED,
    Action.ACCOUNT_ACTIVATED,
    Action.ACCOUNT_DEACTIVATED,
    Action.ACCOUNT_RENAMED,
)

#: Staff roles, which may see tracebacks and submit tasks whose contracts are `staff_only`.
STAFF = frozenset({Role.OPERATOR, Role.ADMINISTRATOR})

#: Access rights by method and path. For a route that submits tasks, ALL means that the recipient
#: may be any account.
RIGHTS: dict[str, Right] = {
    # Each line maps a route to its rights. Columns: the route, the scope that an API key needs, and
    # whose data the roles user, viewer, operator and administrator may reach.
    # route                                     scope               user  viewer oper. admin.
    "GET /api/v1/auth/me": Right(Scope.ACCOUNTS_READ, OWN, OWN, OWN, OWN),
    "GET /api/v1/auth/me/export": Right(None, OWN, OWN, OWN, OWN),
    "DELETE /api/v1/auth/me": Right(
        None, OWN, OWN, OWN, OWN, [Action.ERASURE_REQUESTED, Action.SIGN_IN_FAILED, Action.SIGN_IN_LOCKED]
    ),
    "GET /api/v1/auth/me/quotas": Right(Scope.TASKS_READ, OWN, OWN, OWN, OWN),
    "POST /api/v1/auth/logout": Right(None, OWN, OWN, OWN, OWN, [Action.SIGNED_OUT]),
    "POST /api/v1/auth/logout-all": Right(None, OWN, OWN, OWN, OWN, [Action.SIGNED_OUT_EVERYWHERE]),
    "POST /api/v1/auth/password": Right(
        None, OWN, OWN, OWN, OWN, [Action.PASSWORD_CHANGED, Action.SIGN_IN_FAILED, Action.SIGN_IN_LOCKED]
    ),
    "POST /api/v1/auth/me/verification": Right(None, OWN, OWN, OWN, OWN, [Action.ADDRESS_ASKED]),
    "PUT /api/v1/auth/me/email": Right(
        None, OWN, OWN, OWN, OWN, [Action.ADDRESS_ASKED, Action.SIGN_IN_FAILED, Action.SIGN_IN_LOCKED]
    ),
    "GET /api/v1/accounts": Right(Scope.ACCOUNTS_READ, NONE, NONE, NONE, ALL),
    "GET /api/v1/accounts/{account_id}": Right(Scope.ACCOUNTS_READ, NONE, NONE, NONE, ALL),
    "PATCH /api/v1/accounts/{account_id}": Right(
        Scope.ACCOUNTS_WRITE, NONE, NONE, NONE, ALL, ACCOUNT_CHANGES
    ),
    "DELETE /api/v1/accounts/{account_id}": Right(
        Scope.ACCOUNTS_WRITE, NONE, NONE, NONE, ALL, [Action.ERASURE_REQUESTED]
    ),
    "GET /api/v1/keys": Right(None, OWN, OWN, OWN, ALL),
    "POST /api/v1/keys": Right(None, OWN, OWN, OWN, OWN, [Action.KEY_MADE]),
    "DELETE /api/v1/keys": Right(None, OWN, OWN, OWN, ALL, [Action.KEYS_REVOKED]),
    "DELETE /api/v1/keys/{key_id}": Right(None, OWN, OWN, OWN, ALL, [Action.KEY_REVOKED]),
    "GET /api/v1/catalogue": Right(Scope.TASKS_READ, OWN, OWN, ALL, ALL),
    "GET /api/v1/tasks": Right(Scope.TASKS_READ, OWN, ALL, ALL, ALL),
    "POST /api/v1/tasks": Right(Scope.TASKS_WRITE, OWN, NONE, OWN, ALL, [Action.TASK_SUBMITTED]),
    "POST /api/v1/tasks/batch": Right(Scope.TASKS_WRITE, OWN, NONE, OWN, ALL, [Action.TASK_SUBMITTED]),
    "GET /api/v1/tasks/stats/summary": Right(Scope.TASKS_READ, OWN, ALL, ALL, ALL),
    "GET /api/v1/tasks/stats/series": Right(Scope.TASKS_READ, NONE, ALL, ALL, ALL),
    "GET /api/v1/tasks/stats/kinds": Right(Scope.TASKS_READ, NONE, ALL, ALL, ALL),
    "GET /api/v1/tasks/stats/waits": Right(Scope.TASKS_READ, NONE, ALL, ALL, ALL),
    "GET /api/v1/tasks/{task_id}": Right(Scope.TASKS_READ, OWN, ALL, ALL, ALL, [Action.UNMASKED]),
    "GET /api/v1/tasks/{task_id}/attempts": Right(Scope.TASKS_READ, OWN, ALL, ALL, ALL),
    "GET /api/v1/tasks/{task_id}/logs": Right(Scope.TASKS_READ, OWN, ALL, ALL, ALL),
    "GET /api/v1/tasks/{task_id}/result": Right(Scope.TASKS_READ, OWN, ALL, ALL, ALL, [Action.UNMASKED]),
    "GET /api/v1/tasks/{task_id}/place": Right(Scope.TASKS_READ, OWN, ALL, ALL, ALL),
    "GET /api/v1/tasks/{task_id}/events": Right(Scope.TASKS_READ, OWN, ALL, ALL, ALL),
    "POST /api/v1/tasks/{task_id}/retry": Right(
        Scope.TASKS_WRITE, NONE, NONE, ALL, ALL, [Action.TASK_RETRIED]
    ),
    "DELETE /api/v1/tasks/{task_id}": Right(Scope.TASKS_WRITE, OWN, NONE, ALL, ALL, [Action.TASK_CANCELED]),
    "GET /api/v1/events": Right(Scope.TASKS_READ, OWN, ALL, ALL, ALL),
    "PATCH /api/v1/tasks/{task_id}": Right(Scope.TASKS_WRITE, OWN, NONE, ALL, ALL, [Action.TASK_CHANGED]),
    "POST /api/v1/tasks/{task_id}/run-now": Right(
        Scope.TASKS_WRITE, NONE, NONE, ALL, ALL, [Action.TASK_RUN_NOW]
    ),
    "POST /api/v1/tasks/{task_id}/release": Right(
        Scope.TASKS_WRITE, NONE, NONE, ALL, ALL, [Action.TASK_RELEASED]
    ),
    "GET /api/v1/tasks/{task_id}/stack": Right(Scope.OPERATIONS_READ, NONE, NONE, ALL, ALL),
    "GET /api/v1/workflows": Right(Scope.TASKS_READ, OWN, ALL, ALL, ALL),
    "POST /api/v1/workflows": Right(Scope.TASKS_WRITE, OWN, NONE, OWN, ALL, [Action.WORKFLOW_SUBMITTED]),
    "GET /api/v1/workflows/{workflow_id}": Right(Scope.TASKS_READ, OWN, ALL, ALL, ALL),
    "GET /api/v1/workflows/{workflow_id}/events": Right(Scope.TASKS_READ, OWN, ALL, ALL, ALL),
    "GET /api/v1/workflows/{workflow_id}/steps/{step}/tasks": Right(Scope.TASKS_READ, OWN, ALL, ALL, ALL),
    "POST /api/v1/workflows/{workflow_id}/retry": Right(
        Scope.TASKS_WRITE, NONE, NONE, ALL, ALL, [Action.WORKFLOW_RETRIED]
    ),
    "DELETE /api/v1/workflows/{workflow_id}": Right(
        Scope.TASKS_WRITE, OWN, NONE, ALL, ALL, [Action.WORKFLOW_CANCELED]
    ),
    "GET /api/v1/bulk": Right(Scope.TASKS_READ, OWN, ALL, ALL, ALL),
    # The role "user" may only use the action "cancel" of this route.
    "POST /api/v1/bulk": Right(Scope.TASKS_WRITE, OWN, NONE, ALL, ALL, [Action.BULK_STARTED]),
    "GET /api/v1/bulk/{bulk_id}": Right(Scope.TASKS_READ, OWN, ALL, ALL, ALL),
    "DELETE /api/v1/bulk/{bulk_id}": Right(Scope.TASKS_WRITE, OWN, NONE, ALL, ALL, [Action.BULK_STOPPED]),
    "GET /api/v1/schedules": Right(Scope.SCHEDULES_READ, NONE, ALL, ALL, ALL),
    "POST /api/v1/schedules": Right(Scope.SCHEDULES_WRITE, NONE, NONE, ALL, ALL, [Action.SCHEDULE_MADE]),
    "POST /api/v1/schedules/preview": Right(
        Scope.SCHEDULES_READ, NONE, ALL, ALL, ALL, Unaudited("It changes nothing.")
    ),
    "GET /api/v1/schedules/{name}": Right(Scope.SCHEDULES_READ, NONE, ALL, ALL, ALL, [Action.UNMASKED]),
    "PATCH /api/v1/schedules/{name}": Right(
        Scope.SCHEDULES_WRITE, NONE, NONE, ALL, ALL, [Action.SCHEDULE_CHANGED]
    ),
    "DELETE /api/v1/schedules/{name}": Right(
        Scope.SCHEDULES_WRITE, NONE, NONE, ALL, ALL, [Action.SCHEDULE_REMOVED]
    ),
    "POST /api/v1/schedules/{name}/fire": Right(
        Scope.SCHEDULES_WRITE, NONE, NONE, ALL, ALL, [Action.SCHEDULE_FIRED]
    ),
    "POST /api/v1/schedules/{name}/backfill": Right(
        Scope.SCHEDULES_WRITE, NONE, NONE, ALL, ALL, [Action.SCHEDULE_BACKFILLED]
    ),
    "GET /api/v1/schedules/{name}/firings": Right(Scope.SCHEDULES_READ, NONE, ALL, ALL, ALL),
    "GET /api/v1/operations/health": Right(Scope.OPERATIONS_READ, NONE, ALL, ALL, ALL),
    "GET /api/v1/queues": Right(Scope.OPERATIONS_READ, NONE, ALL, ALL, ALL),
    "GET /api/v1/queues/{queue}": Right(Scope.OPERATIONS_READ, NONE, ALL, ALL, ALL),
    "POST /api/v1/queues/{queue}/pause": Right(
        Scope.OPERATIONS_WRITE, NONE, NONE, ALL, ALL, [Action.QUEUE_PAUSED]
    ),
    "POST /api/v1/queues/{queue}/resume": Right(
        Scope.OPERATIONS_WRITE, NONE, NONE, ALL, ALL, [Action.QUEUE_RESUMED]
    ),
    "POST /api/v1/queues/{queue}/purge": Right(
        Scope.OPERATIONS_WRITE, NONE, NONE, NONE, ALL, [Action.QUEUE_PURGED]
    ),
    "GET /api/v1/workers": Right(Scope.OPERATIONS_READ, NONE, ALL, ALL, ALL),
    "POST /api/v1/workers/{worker_id}/quiet": Right(
        Scope.OPERATIONS_WRITE, NONE, NONE, ALL, ALL, [Action.WORKER_QUIETED]
    ),
    "POST /api/v1/workers/{worker_id}/drain": Right(
        Scope.OPERATIONS_WRITE, NONE, NONE, ALL, ALL, [Action.WORKER_DRAINED]
    ),
    "POST /api/v1/workers/{worker_id}/recycle": Right(
        Scope.OPERATIONS_WRITE, NONE, NONE, ALL, ALL, [Action.WORKER_RECYCLED]
    ),
    "GET /api/v1/operations/errors": Right(Scope.OPERATIONS_READ, NONE, ALL, ALL, ALL),
    "GET /api/v1/operations/errors/{fingerprint}": Right(Scope.OPERATIONS_READ, NONE, ALL, ALL, ALL),
    "PATCH /api/v1/operations/errors/{fingerprint}": Right(
        Scope.OPERATIONS_WRITE, NONE, NONE, ALL, ALL, [Action.ERROR_CHANGED]
    ),
    "GET /api/v1/audit": Right(Scope.OPERATIONS_READ, NONE, NONE, ALL, ALL),
}

#: Routes that need no credentials, with the actions that each one records in the audit log.
PUBLIC: Mapping[str, Leaves] = {
    "POST /api/v1/auth/register": [Action.ACCOUNT_REGISTERED],
    "POST /api/v1/auth/login": [Action.SIGNED_IN, Action.SIGN_IN_FAILED, Action.SIGN_IN_LOCKED],
    "POST /api/v1/auth/refresh": [Action.TOKEN_REUSED],
    "POST /api/v1/auth/verify": [Action.ADDRESS_CONFIRMED],
    "GET /verify/{token}": (),
    "POST /verify/{token}": [Action.ADDRESS_CONFIRMED],
    "GET /api/v1/schema": (),
    "GET /api/v1/schema/openapi.json": (),
    "GET /api/v1/schema/{path}": (),
    "GET /": (),
    "GET /docs": (),
    "GET /docs/start.js": (),
    "GET /docs/assets/{file_path}": (),
    "HEAD /docs/assets/{file_path}": (),
    "GET /health/live": (),
    "GET /health/ready": (),
}


@dataclass(frozen=True, slots=True)
class Reader:
    """The caller of a request, with its role and the accounts whose data it may reach."""

    id: int
    role: Role
    reach: Reach
    #: Returns the description of the caller for the audit log. It is a function, so that only
    #: requests that are recorded build the description.
    describe: Callable[[], Actor] = field(default=Actor, compare=False, repr=False)
    #: True if this request may see sensitive fields of other accounts; see
    #: services/api/audit/unmasking.py.
    unmasks: bool = False

    def may_unmask(self, owner: int | None) -> bool:
        """True if the caller may see the sensitive fields of this owner: the owner itself may, and
        so may an administrator who asked for it.
        """
        return self.unmasks or owner == self.id

    @property
    def owned_by(self) -> int | None:
        """The id of the account to whose objects the request is limited. None if it may reach the
        objects of all accounts.
        """
        return None if self.reach is Reach.ALL else self.id

    @property
    def is_staff(self) -> bool:
        """True if the role belongs to staff, which may see tracebacks and submit restricted tasks."""
        return self.role in STAFF

    @property
    def sees_tracebacks(self) -> bool:
        return self.is_staff


class Rights:
    """The access rights of all routes of one API: those of the platform and those of its
    applications.
    """

    def __init__(self, entries: Mapping[str, Right], public: Mapping[str, Leaves]) -> None:
        self.entries = entries
        #: Routes that need no credentials, with the actions that each one records in the audit log.
        self.public = public

    def __deepcopy__(self, _: object) -> Self:
        """Return itself. Litestar copies middleware for each router, but there must be only one
        table of rights.
        """
        return self

    def enforce(self, scope: HTTPScope) -> None:
        """Check whether an identified caller may use the route, and store which accounts the
        request may reach. Raises RoleForbids or ScopeMissing.
        """
        right = self.entries[f"{scope['method']} {scope['path_template']}"]
        role, scopes = scope["user"].role, scope["auth"].scopes
        if right.reach[role] is Reach.NONE:
            raise RoleForbids(role, [name for name, reach in right.reach.items() if reach is not Reach.NONE])
        if scopes is not None and right.scope not in scopes:
            raise ScopeMissing(right.scope)
        scope["state"]["reach"] = right.reach[role]

    def scopes_of(self, role: Role) -> frozenset[Scope]:
        """Return the scopes that an API key of an account with this role can have."""
        return frozenset(
            right.scope for right in self.entries.values() if right.scope is not None and right.reach[role]
        )

    def leaves(self, route: str) -> Leaves:
        """The actions that a route records in the audit log, or the reason why it records none."""
        return self.entries[route].leaves if route in self.entries else self.public[route]

    def check(self, app: Litestar, admits: Callable[[BaseRouteHandler], bool]) -> None:
        """Check that every route has an entry in the table of rights, every entry has a route, and
        every route that changes something names an audit action.

        `admits` returns True for routes on which `enforce` is called. Raises LookupError.
        """
        guarded, free = set[str](), set[str]()
        for route, handler in routes(app):
            (guarded if admits(handler) else free).add(route)
        for found, entries, name in (
            (guarded, set(self.entries), "RIGHTS"),
            (free, set(self.public), "PUBLIC"),
        ):
            if found - entries:
                raise LookupError(f"routes without an entry in {name}: {', '.join(sorted(found - entries))}")
            if entries - found:
                raise LookupError(f"entries of {name} without a route: {', '.join(sorted(entries - found))}")
        forgotten = [route for route in sorted(guarded | free) if not self.leaves(route) and _changes(route)]
        if forgotten:
            raise LookupError(
                f"routes that change something but record no audit action: {', '.join(forgotten)}; name the "
                "actions that they leave in RIGHTS or PUBLIC, or Unaudited with the reason"
            )


def routes(app: Litestar) -> Iterable[tuple[str, BaseRouteHandler]]:
    """Yield each route, written as in RIGHTS, with its handler."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                for method in handler.http_methods - {"OPTIONS"}:
                    yield f"{method} {route.path_format}", handler


def _changes(route: str) -> bool:
    return not route.startswith(("GET ", "HEAD "))
