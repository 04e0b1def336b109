"""What the audit log calls the acts of the platform. An application adds names of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


class Action(StrEnum):
    """An act that leaves a row in the audit log: its object, then what happened to it."""

    ACCOUNT_REGISTERED = "account.registered"
    ACCOUNT_ROLE_CHANGED = "account.role_changed"
    ACCOUNT_ACTIVATED = "account.activated"
    ACCOUNT_DEACTIVATED = "account.deactivated"
    ACCOUNT_RENAMED = "account.renamed"
    #: The account asked for a mail to its address, or for another address. Where no application sends mail,
    #: the address counts as confirmed with it.
    ADDRESS_ASKED = "account.address_asked"
    #: The link in a mail was used. Its account has the address now.
    ADDRESS_CONFIRMED = "account.address_confirmed"
    #: From then on the account is inactive, and a task erases what is stored of it.
    ERASURE_REQUESTED = "account.erasure_requested"
    PASSWORD_CHANGED = "account.password_changed"
    SIGNED_IN = "session.opened"
    SIGNED_OUT = "session.closed"
    SIGNED_OUT_EVERYWHERE = "session.all_closed"
    #: A spent refresh token was sent again; its session has ended.
    TOKEN_REUSED = "session.token_reused"
    #: A wrong password, at sign-in or for a change of the password.
    SIGN_IN_FAILED = "sign_in.failed"
    #: Too many wrong passwords before: this one was not checked.
    SIGN_IN_LOCKED = "sign_in.locked"
    KEY_MADE = "key.made"
    KEY_REVOKED = "key.revoked"
    KEYS_REVOKED = "key.all_revoked"
    #: Only where the task is for another account than the caller's, or a kind that only staff may submit.
    TASK_SUBMITTED = "task.submitted"
    TASK_CANCELED = "task.canceled"
    TASK_RETRIED = "task.retried"
    #: A waiting task was changed by staff.
    TASK_CHANGED = "task.changed"
    TASK_RUN_NOW = "task.run_now"
    #: From a crash loop.
    TASK_RELEASED = "task.released"
    #: Only where a step is for another account, or is a kind of task that only staff may submit.
    WORKFLOW_SUBMITTED = "workflow.submitted"
    WORKFLOW_CANCELED = "workflow.canceled"
    WORKFLOW_RETRIED = "workflow.retried"
    SCHEDULE_MADE = "schedule.made"
    SCHEDULE_CHANGED = "schedule.changed"
    SCHEDULE_REMOVED = "schedule.removed"
    SCHEDULE_FIRED = "schedule.fired"
    QUEUE_PAUSED = "queue.paused"
    QUEUE_RESUMED = "queue.resumed"
    #: Its waiting tasks were canceled, as many as the row says.
    QUEUE_PURGED = "queue.purged"
    #: The worker was asked; it follows within a second.
    WORKER_QUIETED = "worker.quieted"
    WORKER_DRAINED = "worker.drained"
    WORKER_RECYCLED = "worker.recycled"
    #: An administrator has read the sensitive fields of a task or schedule of another account.
    UNMASKED = "secret.unmasked"
    #: The role or the API key does not allow the request.
    ACCESS_REFUSED = "access.refused"


@dataclass(frozen=True, slots=True)
class Unaudited:
    """Says of a route that changes something why it leaves no row in the audit log."""

    reason: str


#: The actions that a route leaves in the audit log; empty for a route that only reads.
Leaves: TypeAlias = Sequence[str] | Unaudited
