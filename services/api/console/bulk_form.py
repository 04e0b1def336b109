"""Converts the console's form of a bulk operation into a request, and describes the request in
words.

This module does no I/O.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from services.api.bulk.schemas import MAX_RATE, BulkBody
from services.api.console import formats, numbers, states, task_filter
from services.api.console.task_filter import Given
from services.api.http import moments
from services.api.tasks import filter_fields, params_filter
from shared.bulk.act import Action
from shared.contracts import broken_rules
from shared.contracts.contract import HIGHEST_PRIORITY, LOWEST_PRIORITY
from shared.errors import FieldProblem, InvalidFields


class Deed(NamedTuple):
    """How the console presents one action of a bulk operation, such as retry."""

    word: str
    #: Template for a title or button, such as "Retry {}". The number of tasks is inserted.
    to: str
    #: Name of the icon for the action; see templates/icons.html.j2.
    icon: str
    #: A sentence that explains what the action does.
    hint: str


DEEDS: Final[Mapping[str, Deed]] = {
    Action.RETRY: Deed(
        "Retry",
        "Retry {}",
        "retry",
        "Failed and canceled tasks run again. Tasks of workflows are left alone: retry their workflow.",
    ),
    Action.CANCEL: Deed(
        "Cancel", "Cancel {}", "cross", "Waiting tasks end at once, and running ones are asked to stop."
    ),
    Action.RUN_NOW: Deed("Run now", "Run {} now", "play", "Delayed tasks and retries start now."),
    Action.RELEASE: Deed(
        "Release",
        "Release {}",
        "drain",
        "Tasks that were given up because they killed their workers begin again.",
    ),
    Action.CHANGE: Deed("Change", "Change {}", "edit", "Waiting tasks get another priority or queue."),
}
#: Fields of the form other than the filter. The field for the queue to which tasks move is called
#: `to_queue`, because `queue` is a filter.
FIELDS: Final = ("action", "to_priority", "to_queue", "preview", "expected", "rate", "reason")
_NO_FILTERS: Final = frozenset({*FIELDS, "token", "next", "cursor"})
_SEVERAL: Final = ("status", "name", "queue")
_NUMBERS: Final = ("to_priority", "expected", "rate", "owner")
#: Fields that are needed to start the operation but not to preview it.
_FOR_THE_START: Final = frozenset({"token", "expected", "rate", "reason"})
_RULES: Final = {
    "action": f"must be one of {', '.join(Action)}",
    "rate": f"must be a whole number from 1 to {MAX_RATE:,}, or empty",
    "changes.priority": f"must be a whole number from {LOWEST_PRIORITY} to {HIGHEST_PRIORITY}",
}
#: Phrases that describe the fields of the filter in a sentence, by field name.
_PHRASES: Final = {
    "name": "named {}",
    "queue": "in the queue {}",
    "owner": "of account {}",
    "worker": "of worker {}",
    "parent": "submitted by task {}",
    "workflow": "of workflow {}",
    "schedule": "of the schedule {}",
    "fingerprint": "with the error {}",
    "task_type": "of the type {}",
    "created_after": "created since {}",
    "created_before": "created before {}",
    "completed_after": "ended since {}",
    "completed_before": "ended before {}",
    "error": 'whose error contains "{}"',
}


_MOMENTS: Final = frozenset(name for name in _PHRASES if name.endswith(("_after", "_before")))


@dataclass(frozen=True, slots=True)
class Asked:
    """A bulk operation read from the form, and the rules that the form breaks."""

    #: The filter as parameters of a query string. Relative times have become absolute ones, so that
    #: the operation affects the tasks that the preview showed.
    filters: Given
    #: The values of the form's fields that are not part of the filter, by name.
    values: Mapping[str, str]
    #: The request that can be previewed. None if no action is chosen, or if the filter or a change
    #: breaks a rule.
    body: BulkBody | None
    problems: tuple[FieldProblem, ...] = ()


def read(given: Given, now: datetime) -> Asked:
    """Read the form of a bulk operation. Its filter has the same fields as that of the task list."""
    values = dict.fromkeys(FIELDS, "") | {
        name: value.strip() for name, value in given if name in FIELDS and value.strip()
    }
    filters = _absolute([each for each in given if each[0] not in _NO_FILTERS and each[1].strip()], now)
    if problems := task_filter.read(filters, now).problems:
        return Asked(filters, values, None, problems)
    # The action "change" needs at least one new value, which is the priority or the queue.
    if not values["action"] or (values["action"] == Action.CHANGE and not _changes(values)):
        return Asked(filters, values, None)
    return _checked(filters, values, _raw(filters, values))


def _checked(filters: Given, values: Mapping[str, str], raw: dict[str, Any]) -> Asked:
    try:
        return Asked(filters, values, msgspec.convert(raw, BulkBody))
    except msgspec.ValidationError as error:
        found = broken_rules.find(raw, BulkBody, "") or [FieldProblem("", str(error))]
    problems = tuple(FieldProblem(each.field, _RULES.get(each.field, each.rule)) for each in found)
    fields = {each.field for each in found}
    if not fields <= _FOR_THE_START:
        return Asked(filters, values, None, problems)
    kept = {name: value for name, value in raw.items() if name not in fields}
    return Asked(filters, values, msgspec.convert(kept, BulkBody), problems)


def _absolute(filters: Given, now: datetime) -> Given:
    names = {name for name, _ in filters}
    kept = [each for each in filters if each[0] != "since" or each[1] not in task_filter.SINCE]
    since = next((task_filter.SINCE[value] for name, value in filters if (name, value) not in kept), None)
    if since is None or "created_after" in names:
        return kept
    moment = (now - since).astimezone(UTC).replace(microsecond=0)
    return [*kept, ("created_after", moment.isoformat().replace("+00:00", "Z"))]


def _raw(filters: Given, values: Mapping[str, str]) -> dict[str, Any]:
    raw: dict[str, Any] = {"action": values["action"], "filter": _filter(filters)}
    names = {"preview": "token", "expected": "expected", "rate": "rate", "reason": "reason"}
    raw |= {name: _value(field, values[field]) for field, name in names.items() if values[field]}
    if values["action"] == Action.CHANGE:
        raw["changes"] = _changes(values)
    return raw


def _changes(values: Mapping[str, str]) -> dict[str, Any]:
    fields = [name for name in ("to_priority", "to_queue") if values[name]]
    return {name.removeprefix("to_"): _value(name, values[name]) for name in fields}


def _filter(filters: Given) -> dict[str, Any]:
    raw: dict[str, Any] = {}
    for name, value in filters:
        if name in _SEVERAL:
            raw.setdefault(name, []).append(value)
        elif name.startswith(params_filter.PREFIX):
            raw.setdefault("params", {})[name.removeprefix(params_filter.PREFIX)] = value
        else:
            raw[name] = _value(name, value)
    return raw


def _value(name: str, text: str) -> Any:
    """Convert the value of a number field. Text that is not a number is returned unchanged, so that
    validation reports it.
    """
    found = numbers.read(text) if name in _NUMBERS else None
    return text if found is None else found


def pairs(filter: Mapping[str, Any]) -> Given:
    """The filter of a bulk operation as parameters of a query string."""
    found = list(filter_fields.in_query(filter.get("params") or {}))
    for name, value in filter.items():
        if name != "params":
            found += [(name, str(each)) for each in (value if isinstance(value, list) else [value])]
    return found


def in_words(filters: Given, kind: str = "task") -> str:
    """Describe the filter as a phrase, such as `Tasks that are failed, named email.send_welcome,
    whose parameter user_id is 7`.
    """
    values: dict[str, list[str]] = {}
    for name, value in filters:
        values.setdefault(name, []).append(value)
    # The phrases have a fixed order, whatever the order in the query string; parameters of the
    # tasks come last.
    order = [name for name in ("status", *_PHRASES) if name in values]
    order += sorted(values.keys() - set(order))
    return f"{kind.capitalize()}s " + ", ".join(_phrase(name, values[name]) for name in order)


def _phrase(name: str, values: list[str]) -> str:
    if name == "status":
        return "that are " + " or ".join(states.sign_of(value).word for value in values)
    if name.startswith(params_filter.PREFIX):
        return f"whose parameter {name.removeprefix(params_filter.PREFIX)} is {' or '.join(values)}"
    shown = [_moment(value) if name in _MOMENTS else value for value in values]
    return _PHRASES.get(name, f"whose {name} is {{}}").format(" or ".join(shown))


def _moment(text: str) -> str:
    try:
        moment = moments.read(text, "")
    except InvalidFields:
        return text
    return text if moment is None else formats.exact(moment)


def change_in_words(changes: Mapping[str, Any] | None) -> str:
    """Describe the changes that the action "change" makes, such as `priority 9, queue email`. Empty
    if there are none.
    """
    return ", ".join(f"{name} {value}" for name, value in (changes or {}).items() if value is not None)
