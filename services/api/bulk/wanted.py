"""Validates the filter and the action of a bulk operation.

The rules are those of the task list and of the same action on a single task.
"""

import dataclasses

from services.api.bulk.schemas import BulkBody, BulkFilter
from services.api.http.errors import NotAllowed
from services.api.http.refusals import RoleForbids
from services.api.identity.rights import Reader
from services.api.tasks import filter_fields, params_filter
from shared.bulk import act
from shared.bulk.act import ACTIONS, Action, Kind
from shared.bulk.matches import Matches
from shared.contracts.catalogue import Catalogue
from shared.errors import FieldProblem, InvalidFields
from shared.identity.tables import Role
from shared.ledger.task_filter import TaskFilter
from shared.ledger.workflow_filter import WorkflowFilter

AnyFilter = TaskFilter | WorkflowFilter

_OF_WORKFLOWS = frozenset({"status", "name", "owner", "created_after", "created_before"})


def read(body: BulkBody, reader: Reader, catalogue: Catalogue) -> Matches:
    """Validate the requested bulk operation. Raises RoleForbids, NotAllowed or InvalidFields."""
    if not act.may(reader.role, body.action):
        raise RoleForbids(reader.role, [Role.OPERATOR, Role.ADMINISTRATOR])
    if problems := [*_broken(body)]:
        raise InvalidFields(problems)
    wanted = _filter(body, catalogue)
    if wanted in (TaskFilter(), WorkflowFilter()):
        rule = "must name at least one field: an operation on everything is refused"
        raise InvalidFields([FieldProblem("filter", rule)])
    if reader.owned_by is not None:
        wanted = _only_own(wanted, reader.owned_by)
    return Matches(kind=body.kind, action=body.action, filter=wanted, owner=reader.owned_by)


def _only_own(wanted: AnyFilter, account: int) -> AnyFilter:
    """Restrict the filter to the account's own tasks. The restriction is stored with the operation,
    so it remains even if the account gets a higher role before the operation ends.

    Raises NotAllowed.
    """
    if wanted.owner not in (None, account):
        raise NotAllowed("filter.owner", "must be your own id")
    return dataclasses.replace(wanted, owner=account)


def _broken(body: BulkBody) -> list[FieldProblem]:
    problems = []
    if body.action not in ACTIONS[body.kind]:
        allowed = ", ".join(ACTIONS[body.kind])
        problems.append(FieldProblem("action", f"must be one of {allowed} for the kind {body.kind}"))
    changes = body.changes or act.Changes()
    if (changes.priority is not None or changes.queue is not None) != (body.action is Action.CHANGE):
        rule = "must give priority or queue when the action is change, and only then"
        problems.append(FieldProblem("changes", rule))
    if changes.handlers is not None and (body.kind, body.action) != (Kind.WORKFLOW, Action.RETRY):
        problems.append(FieldProblem("changes.handlers", "is for retries of workflows"))
    return problems


def _filter(body: BulkBody, catalogue: Catalogue) -> AnyFilter:
    """Read a filter of tasks from the request. Raises InvalidFields; the field names in it begin
    with `filter`.
    """
    try:
        wanted = body.filter.read(filter_fields.in_query(body.filter.params))
        params_filter.refuse_sealed(wanted.params, wanted.name or (), catalogue)
        return wanted if body.kind is Kind.TASK else _of_workflows(body.filter, wanted)
    except InvalidFields as error:
        raise InvalidFields(
            [FieldProblem(f"filter.{each.field}", each.rule) for each in error.problems]
        ) from None


def _of_workflows(given: BulkFilter, read: TaskFilter) -> WorkflowFilter:
    """Read a filter of workflows from the request. Raises InvalidFields if it has fields that
    workflows do not have.
    """
    rule = f"is not a field of workflows; use {', '.join(sorted(_OF_WORKFLOWS))}"
    fields = [name for name in given.__struct_fields__ if getattr(given, name) and name not in _OF_WORKFLOWS]
    if fields:
        raise InvalidFields([FieldProblem(name, rule) for name in fields])
    return WorkflowFilter(
        status=read.status,
        name=read.name,
        owner=read.owner,
        created_after=read.created_after,
        created_before=read.created_before,
    )
