"""Defines bulk operations, which apply one action to all tasks or workflows that match a filter."""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from shared.contracts.contract import HIGHEST_PRIORITY, LOWEST_PRIORITY
from shared.identity.tables import Role
from shared.workflows.retry import Handlers


class Kind(StrEnum):
    """The kind of objects that a bulk operation changes: tasks or workflows."""

    TASK = "task"
    WORKFLOW = "workflow"


class Action(StrEnum):
    """The action that is applied to each matching task or workflow."""

    #: Run failed or canceled tasks or workflows again.
    RETRY = "retry"
    CANCEL = "cancel"
    #: Start delayed tasks and retries now.
    RUN_NOW = "run_now"
    #: Run tasks again that failed permanently because they repeatedly killed their worker.
    RELEASE = "release"
    #: Give waiting tasks another priority or another queue.
    CHANGE = "change"


#: The actions that are possible on tasks, and those that are possible on workflows.
ACTIONS = {Kind.TASK: tuple(Action), Kind.WORKFLOW: (Action.RETRY, Action.CANCEL)}


class State(StrEnum):
    """The state of a bulk operation."""

    #: The operation waits for a worker, or for the next attempt of the task that carries it out.
    WAITING = "waiting"
    RUNNING = "running"
    #: The operation was asked to stop. It may still be changing its current chunk of tasks or
    #: workflows.
    STOPPING = "stopping"
    COMPLETED = "completed"
    STOPPED = "stopped"
    #: The operation ended because the account that started it lost the right to continue it.
    FORBIDDEN = "forbidden"
    #: The task that carries out the operation has failed. If an operator retries this task, the
    #: operation continues where it stopped.
    FAILED = "failed"


class Verdict(StrEnum):
    """The result of a bulk operation for one matching task or workflow."""

    DONE = "done"
    #: The task or workflow has changed since it was selected, and no longer matches.
    SKIPPED = "skipped"
    #: The action is not possible on this task or workflow.
    REFUSED = "refused"


class Changes(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The values that a bulk operation sets.

    `priority` and `queue` are new values for `Action.CHANGE`; null leaves a value unchanged.
    `handlers` is only used for retries of workflows.
    """

    priority: Annotated[int, Meta(ge=LOWEST_PRIORITY, le=HIGHEST_PRIORITY)] | None = None
    queue: Annotated[str, Meta(max_length=100)] | None = None
    #: What a retry does with handlers (steps that run after a failure) that have already run. If it
    #: is null, workflows in which handlers have run are refused.
    handlers: Handlers | None = None


def may(role: str, action: str) -> bool:
    """True if accounts with this role may apply this action in a bulk operation."""
    return role in (Role.OPERATOR, Role.ADMINISTRATOR) or (role == Role.USER and action == Action.CANCEL)


def owned_by(role: str, account: int) -> int | None:
    """The account to whose tasks and workflows a bulk operation is limited.

    None if the operation may change those of all accounts.
    """
    return account if role == Role.USER else None
