"""Computes the parameters of a step that come from the results of other steps.

These are pure functions: the caller reads how the other tasks ended. The worker reads that from
Postgres, and `shared.testing` from memory.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from shared.contracts.outcome import StepOutcome
from shared.errors import PermanentError
from shared.workflows.reference import Input, Kind, Source


class End(msgspec.Struct, frozen=True, kw_only=True):
    """How one task of a workflow ended."""

    #: Status of the task. None if the step was skipped and has no task.
    status: str | None
    #: Result of the task as decoded JSON, with its sensitive fields decrypted.
    result: Any = None
    error_kind: str | None = None
    error_message: str | None = None


#: How the tasks of each step ended, in order, by the name of the step.
Ends = Mapping[str, Sequence[End]]


def values(wanted: Mapping[str, Input], ends: Ends) -> dict[str, Any]:
    """Compute the parameters by name, as decoded JSON. Raises PermanentError if a result is
    missing.
    """
    return {name: _value(each, ends) for name, each in wanted.items()}


def _value(each: Input, ends: Ends) -> Any:
    if not each.many:
        return _of_source(each.sources[0], ends)
    found: list[Any] = []
    for source in each.sources:
        value = _of_source(source, ends)
        found += value if source.kind in (Kind.RESULTS, Kind.OUTCOMES) else [value]
    return found


def _of_source(source: Source, ends: Ends) -> Any:
    found = ends[source.step]
    match source.kind:
        case Kind.RESULTS:
            return [end.result for end in found if end.status == "success"]
        case Kind.OUTCOMES:
            return [_outcome(end) for end in found]
    if not found:
        raise PermanentError(
            f"the result of step {source.step!r} was deleted with its task: submit the workflow again"
        )
    return _outcome(found[0]) if source.kind is Kind.OUTCOME else _result(source, found[0])


def _result(source: Source, end: End) -> Any:
    if end.status != "success":
        raise PermanentError(f"step {source.step!r} has no result: it is {end.status or 'skipped'}")
    value = end.result
    for name in source.path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _outcome(end: End) -> dict[str, Any]:
    outcome: dict[str, Any] = msgspec.to_builtins(
        StepOutcome(
            status=end.status or "skipped",
            result=end.result,
            error_kind=end.error_kind,
            error_message=end.error_message,
        )
    )
    return outcome
