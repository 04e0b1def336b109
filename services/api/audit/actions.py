"""Names the platform's actions in the audit log. An application adds its own names."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from shared.bulk import statements


class Action(StrEnum):
    """An action that is recorded in the audit log. Its name starts with the kind of object, such as
    `task`.
    """

    ACCOUNT_REGISTERED = "account.registered"
    ACCOUNT_ROLE_CHANGED = "account.role_changed"
    ACCOUNT_ACTIVATED = "account.activated"
    ACCOUNT_DEACTIVATED = "account.deactivated"
    ACCOUNT_RENAMED = "account.renamed"
    #: The account asked for a confirmation mail to its address or to a new one. If no application
    #: sends mail, the address counts as confirmed immediately.
    ADDRESS_ASKED = "account.address_asked"
    #: Someone used the link in a confirmation mail, and the address now belongs to the account.
    ADDRESS_CONFIRMED = "account.address_confirmed"
    #: A user or an administrator requested to erase the account. The account was deactivated, and a
    #: task is erasing everything that is stored about it.
    ERASURE_REQUESTED = "account.erasure_requested"
    PASSWORD_CHANGED = "account.password_changed"
    SIGNED_IN = "session.opened"
    SIGNED_OUT = "session.closed"
    SIGNED_OUT_EVERYWHERE = "session.all_closed"
    #: A refresh token that had been used before was sent again. Its session was ended.
    TOKEN_REUSED = "session.token_reused"
    #: A wrong password was sent, when signing in or when changing the password.
    SIGN_IN_FAILED = "sign_in.failed"
    #: A sign-in was refused without checking the password, because too many wrong passwords had
    #: been sent before.
    SIGN_IN_LOCKED = "sign_in.locked"
    KEY_MADE = "key.made"
    KEY_REVOKED = "key.revoked"
    KEYS_REVOKED = "key.all_revoked"
    #: A task was submitted. This is recorded only if the task is for an account other than the
    #: caller's, or if only staff may submit tasks of this kind.
    TASK_SUBMITTED = "task.submitted"
    TASK_CANCELED = "task.canceled"
    TASK_RETRIED = "task.retried"
    #: A member of the staff changed a task that had not started.
    TASK_CHANGED = "task.changed"
    TASK_RUN_NOW = "task.run_now"
    #: An operator released the task from a crash loop.
    TASK_RELEASED = "task.released"
    #: A workflow was submitted. This is recorded only if one of its steps is for an account other
    #: than the caller's, or if only staff may submit tasks of that step's kind.
    WORKFLOW_SUBMITTED = "workflow.submitted"
    WORKFLOW_CANCELED = "workflow.canceled"
    WORKFLOW_RETRIED = "workflow.retried"
    BULK_STARTED = "bulk.started"
    #: A worker has finished one chunk of a bulk operation. The row in the audit log lists the ids
    #: of the changed objects.
    BULK_APPLIED = statements.APPLIED
    BULK_STOPPED = "bulk.stopped"
    #: A bulk operation ended: it was completed or stopped, or its account lost the right to
    #: continue it.
    BULK_ENDED = statements.ENDED
    SCHEDULE_MADE = "schedule.made"
    SCHEDULE_CHANGED = "schedule.changed"
    SCHEDULE_REMOVED = "schedule.removed"
    SCHEDULE_FIRED = "schedule.fired"
    #: An operator submitted the missing runs of a schedule within a time span.
    SCHEDULE_BACKFILLED = "schedule.backfilled"
    QUEUE_PAUSED = "queue.paused"
    QUEUE_RESUMED = "queue.resumed"
    #: All waiting tasks of the queue were canceled. The row in the audit log has their number.
    QUEUE_PURGED = "queue.purged"
    #: An operator asked a worker to quiet, drain or recycle. The worker follows within a second.
    WORKER_QUIETED = "worker.quieted"
    WORKER_DRAINED = "worker.drained"
    WORKER_RECYCLED = "worker.recycled"
    #: An error group was acknowledged, muted, resolved or reopened.
    ERROR_CHANGED = "error.changed"
    #: An administrator read the sensitive fields of a task or schedule of another account.
    UNMASKED = "secret.unmasked"
    #: A request was refused, because the role or the API key does not allow it.
    ACCESS_REFUSED = "access.refused"


@dataclass(frozen=True, slots=True)
class Unaudited:
    """The reason why a route that changes something writes no row to the audit log."""

    reason: str


#: The actions that a route records in the audit log. Empty for a route that only reads.
Leaves: TypeAlias = Sequence[str] | Unaudited
