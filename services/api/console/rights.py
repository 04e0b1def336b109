"""The access rights of the console's routes, in the format of services/api/identity/rights.py.

No route of the console accepts an API key, so none has a scope. A page shows a form only to callers
that may send it.
"""

from collections.abc import Mapping
from typing import Final

from services.api.audit.actions import Action, Leaves, Unaudited
from services.api.identity.rights import ACCOUNT_CHANGES, Reach, Right

NONE, OWN, ALL = Reach.NONE, Reach.OWN, Reach.ALL
_IN_THE_BROWSER: Final = Unaudited("It changes a cookie of the caller's browser only.")

RIGHTS: Final[Mapping[str, Right]] = {
    # Each line maps a route to its rights. Columns: the route, and whose data the roles user,
    # viewer, operator and administrator may reach.
    # route                                     user  viewer oper. admin.
    "GET /console": Right(None, OWN, ALL, ALL, ALL),
    "POST /console/logout": Right(None, OWN, OWN, OWN, OWN, [Action.SIGNED_OUT]),
    "POST /console/preferences": Right(None, OWN, OWN, OWN, OWN, _IN_THE_BROWSER),
    "GET /console/stream": Right(None, OWN, ALL, ALL, ALL),
    "GET /console/tasks": Right(None, OWN, ALL, ALL, ALL),
    "POST /console/tasks/views": Right(None, OWN, OWN, OWN, OWN, _IN_THE_BROWSER),
    "POST /console/tasks/views/remove": Right(None, OWN, OWN, OWN, OWN, _IN_THE_BROWSER),
    "GET /console/tasks.csv": Right(None, OWN, ALL, ALL, ALL),
    "GET /console/tasks.jsonl": Right(None, OWN, ALL, ALL, ALL),
    "POST /console/tasks/cancel": Right(None, OWN, NONE, ALL, ALL, [Action.TASK_CANCELED]),
    "POST /console/tasks/retry": Right(None, NONE, NONE, ALL, ALL, [Action.TASK_RETRIED]),
    "GET /console/go": Right(None, OWN, ALL, ALL, ALL),
    "GET /console/tasks/new": Right(None, OWN, NONE, OWN, ALL),
    "POST /console/tasks/new": Right(None, OWN, NONE, OWN, ALL, [Action.TASK_SUBMITTED]),
    "GET /console/tasks/{task_id}": Right(None, OWN, ALL, ALL, ALL),
    "GET /console/tasks/{task_id}/stream": Right(None, OWN, ALL, ALL, ALL),
    "GET /console/tasks/{task_id}/edit": Right(None, NONE, NONE, ALL, ALL),
    "POST /console/tasks/{task_id}/edit": Right(None, NONE, NONE, ALL, ALL, [Action.TASK_RETRIED]),
    "POST /console/tasks/{task_id}/run-now": Right(None, NONE, NONE, ALL, ALL, [Action.TASK_RUN_NOW]),
    "POST /console/tasks/{task_id}/release": Right(None, NONE, NONE, ALL, ALL, [Action.TASK_RELEASED]),
    "POST /console/tasks/{task_id}/unmask": Right(
        None, NONE, NONE, NONE, ALL, [Action.UNMASKED, Action.SIGN_IN_FAILED, Action.SIGN_IN_LOCKED]
    ),
    "GET /console/tasks/{task_id}/stack": Right(None, NONE, NONE, ALL, ALL),
    "GET /console/bulk": Right(None, OWN, ALL, ALL, ALL),
    "GET /console/bulk/new": Right(None, OWN, NONE, ALL, ALL),
    "POST /console/bulk/new": Right(None, OWN, NONE, ALL, ALL, [Action.BULK_STARTED]),
    "GET /console/bulk/{bulk_id}": Right(None, OWN, ALL, ALL, ALL),
    "POST /console/bulk/{bulk_id}/stop": Right(None, OWN, NONE, ALL, ALL, [Action.BULK_STOPPED]),
    "GET /console/workflows": Right(None, OWN, ALL, ALL, ALL),
    "GET /console/workflows/{workflow_id}": Right(None, OWN, ALL, ALL, ALL),
    "POST /console/workflows/{workflow_id}/cancel": Right(
        None, OWN, NONE, ALL, ALL, [Action.WORKFLOW_CANCELED]
    ),
    "POST /console/workflows/{workflow_id}/retry": Right(
        None, NONE, NONE, ALL, ALL, [Action.WORKFLOW_RETRIED]
    ),
    "GET /console/errors": Right(None, NONE, ALL, ALL, ALL),
    "GET /console/errors/{fingerprint}": Right(None, NONE, ALL, ALL, ALL),
    "POST /console/errors/{fingerprint}": Right(None, NONE, NONE, ALL, ALL, [Action.ERROR_CHANGED]),
    "GET /console/queues": Right(None, NONE, ALL, ALL, ALL),
    "POST /console/queues/{queue}/pause": Right(None, NONE, NONE, ALL, ALL, [Action.QUEUE_PAUSED]),
    "POST /console/queues/{queue}/resume": Right(None, NONE, NONE, ALL, ALL, [Action.QUEUE_RESUMED]),
    "POST /console/queues/{queue}/purge": Right(None, NONE, NONE, NONE, ALL, [Action.QUEUE_PURGED]),
    "GET /console/workers": Right(None, NONE, ALL, ALL, ALL),
    "POST /console/workers/{worker_id}/quiet": Right(None, NONE, NONE, ALL, ALL, [Action.WORKER_QUIETED]),
    "POST /console/workers/{worker_id}/drain": Right(None, NONE, NONE, ALL, ALL, [Action.WORKER_DRAINED]),
    "POST /console/workers/{worker_id}/recycle": Right(None, NONE, NONE, ALL, ALL, [Action.WORKER_RECYCLED]),
    "GET /console/schedules": Right(None, NONE, ALL, ALL, ALL),
    "GET /console/schedules/{name}": Right(None, NONE, ALL, ALL, ALL),
    "POST /console/schedules/{name}/fire": Right(None, NONE, NONE, ALL, ALL, [Action.SCHEDULE_FIRED]),
    "POST /console/schedules/{name}/switch": Right(None, NONE, NONE, ALL, ALL, [Action.SCHEDULE_CHANGED]),
    "GET /console/schedules/{name}/backfill": Right(None, NONE, NONE, ALL, ALL),
    "POST /console/schedules/{name}/backfill": Right(
        None, NONE, NONE, ALL, ALL, [Action.SCHEDULE_BACKFILLED]
    ),
    "GET /console/servers": Right(None, NONE, ALL, ALL, ALL),
    "GET /console/audit": Right(None, NONE, NONE, ALL, ALL),
    "GET /console/accounts": Right(None, NONE, NONE, NONE, ALL),
    "POST /console/accounts/{account_id}": Right(None, NONE, NONE, NONE, ALL, ACCOUNT_CHANGES),
    "GET /console/keys": Right(None, NONE, NONE, NONE, ALL),
    "POST /console/keys": Right(None, NONE, NONE, NONE, OWN, [Action.KEY_MADE]),
    "POST /console/keys/revoke": Right(None, NONE, NONE, NONE, ALL, [Action.KEYS_REVOKED]),
    "POST /console/keys/{key_id}/revoke": Right(None, NONE, NONE, NONE, ALL, [Action.KEY_REVOKED]),
}

PUBLIC: Final[Mapping[str, Leaves]] = {
    "GET /console/login": (),
    "POST /console/login": [Action.SIGNED_IN, Action.SIGN_IN_FAILED, Action.SIGN_IN_LOCKED],
    "GET /console/static/{digest}/{name}": (),
    "GET /console/{rest}": (),
}
