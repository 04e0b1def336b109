"""What every refusal looks like."""

from msgspec import UNSET, UnsetType

from services.api.http.schemas import Answer


class FieldRule(Answer):
    field: str
    rule: str


class Problem(Answer, omit_defaults=True):
    """RFC 9457."""

    #: Stable, for programs to branch on.
    type: str
    title: str
    status: int
    #: What happened and what to do next.
    detail: str
    #: Path of the request.
    instance: str
    #: The answer carries it as X-Request-Id; log lines and the audit log have it too.
    request_id: str | UnsetType = UNSET
    errors: list[FieldRule] | UnsetType = UNSET
    #: True: it may have been carried out all the same; absent: it was not.
    outcome_unknown: bool | UnsetType = UNSET
    #: The quota that is used up, and its amount.
    quota: str | UnsetType = UNSET
    amount: int | UnsetType = UNSET
    #: How the task ended, where that is the problem.
    task_status: str | UnsetType = UNSET
