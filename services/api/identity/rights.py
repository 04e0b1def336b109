"""Access rights: one table of roles by route, and the one place that enforces it.

A new route needs one line in RIGHTS (or in PUBLIC); the application is not built without it. If the route
changes something, its line names the actions that it leaves in the audit log, or says why it leaves none.
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
    OPERATIONS_READ = "operations:read"
    OPERATIONS_WRITE = "operations:write"


class Right:
    """What one route asks of its caller."""

    def __init__(
        self,
        scope: Scope | None,
        user: Reach,
        viewer: Reach,
        operator: Reach,
        administrator: Reach,
        leaves: Leaves = (),
    ) -> None:
        #: The scope that an API key needs; None: API keys are refused.
        self.scope = scope
        #: The actions that it leaves in the audit log, or why it leaves none.
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

#: Roles that may see tracebacks and submit tasks of contracts that are `staff_only`.
STAFF = frozenset({Role.OPERATOR, Role.ADMINISTRATOR})

#: By method and path. For routes that submit, ALL means that the recipient may be any account.
RIGHTS: dict[str, Right] = {
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
    "GET /api/v1/schedules/{name}/firings": Right(Scope.SCHEDULES_READ, NONE, ALL, ALL, ALL),
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
    "GET /api/v1/audit": Right(Scope.OPERATIONS_READ, NONE, NONE, ALL, ALL),
}

#: Routes that need no credentials, with what each leaves in the audit log.
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
    """The caller of a request, and whose things it may reach."""

    id: int
    role: Role
    reach: Reach
    #: Describes it for the audit log. Called for acts that are recorded only: ordinary requests do not pay.
    describe: Callable[[], Actor] = field(default=Actor, compare=False, repr=False)
    #: Sees sensitive fields of others; see services/api/audit/unmasking.py.
    unmasks: bool = False

    def may_unmask(self, owner: int | None) -> bool:
        """True for the owner, and for an administrator who has asked for it."""
        return self.unmasks or owner == self.id

    @property
    def is_staff(self) -> bool:
        """True for roles that may use what is restricted to staff."""
        return self.role in STAFF

    @property
    def sees_tracebacks(self) -> bool:
        return self.is_staff


class Rights:
    """The table of rights of one API: the platform's entries and those of its applications."""

    def __init__(self, entries: Mapping[str, Right], public: Mapping[str, Leaves]) -> None:
        self.entries = entries
        #: Routes that need no credentials.
        self.public = public

    def __deepcopy__(self, _: object) -> Self:
        """Litestar copies middleware when it takes in a router; the table stays one."""
        return self

    def enforce(self, scope: HTTPScope) -> None:
        """Judge an identified request, and note its reach. Raises RoleForbids or ScopeMissing."""
        right = self.entries[f"{scope['method']} {scope['path_template']}"]
        role, scopes = scope["user"].role, scope["auth"].scopes
        if right.reach[role] is Reach.NONE:
            raise RoleForbids(role, [name for name, reach in right.reach.items() if reach is not Reach.NONE])
        if scopes is not None and right.scope not in scopes:
            raise ScopeMissing(right.scope)
        scope["state"]["reach"] = right.reach[role]

    def scopes_of(self, role: Role) -> frozenset[Scope]:
        """The scopes that have a use for this role."""
        return frozenset(
            right.scope for right in self.entries.values() if right.scope is not None and right.reach[role]
        )

    def leaves(self, route: str) -> Leaves:
        """What a route leaves in the audit log."""
        return self.entries[route].leaves if route in self.entries else self.public[route]

    def check(self, app: Litestar, admits: Callable[[BaseRouteHandler], bool]) -> None:
        """Refuse an application whose routes and entries differ, or that forgets the audit log.

        `admits` is True for routes on which `enforce` is called. Raises LookupError.
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
                f"routes that change something and forget the audit log: {', '.join(forgotten)}; name the "
                "actions that they leave in RIGHTS or PUBLIC, or Unaudited with the reason"
            )


def routes(app: Litestar) -> Iterable[tuple[str, BaseRouteHandler]]:
    """Each route as RIGHTS spells it, with its handler."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                for method in handler.http_methods - {"OPTIONS"}:
                    yield f"{method} {route.path_format}", handler


def _changes(route: str) -> bool:
    return not route.startswith(("GET ", "HEAD "))
