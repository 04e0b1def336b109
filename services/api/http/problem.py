"""Defines the problem document, which is the format of every error answer."""

from msgspec import UNSET, UnsetType

from services.api.http.schemas import Answer


class FieldRule(Answer):
    field: str
    rule: str


class Problem(Answer, omit_defaults=True):
    """A problem document (RFC 9457), which is the body of an error answer."""

    #: A stable identifier of the kind of problem, on which programs can branch.
    type: str
    title: str
    status: int
    #: Explanation of what happened and what to do next.
    detail: str
    #: Path of the request that had the problem.
    instance: str
    #: The request's X-Request-Id, which log lines and the audit log contain too.
    request_id: str | UnsetType = UNSET
    errors: list[FieldRule] | UnsetType = UNSET
    #: True if it is unknown whether the request was carried out. Absent if it was not.
    outcome_unknown: bool | UnsetType = UNSET
    #: Name of the quota that is used up. `amount` is the size of this quota.
    quota: str | UnsetType = UNSET
    amount: int | UnsetType = UNSET
    #: Status of the task, if the problem is that the task has already ended.
    task_status: str | UnsetType = UNSET
