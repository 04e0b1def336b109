"""The filters of the console's task list: converts a query string into a database query and into
words.

Query parameters have the same names as in GET /api/v1/tasks, so that an alert can link to either.
`since` is a relative time.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from services.api.console import numbers
from services.api.http import moments
from services.api.identity import accounts
from services.api.tasks import params_filter
from shared.contracts.patterns import whole
from shared.errors import FieldProblem, InvalidFields
from shared.ledger.lifecycle import Status
from shared.ledger.task_filter import TaskFilter

Given = Sequence[tuple[str, str]]

#: The values of the parameter `since`, and the period that each one covers, up to the current time.
SINCE: Final = {
    "1h": timedelta(hours=1),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
_SEVERAL = ("status", "name", "queue")
_IDS = ("worker", "parent", "workflow")
_MOMENTS = ("created_after", "created_before", "completed_after", "completed_before")
_TEXTS = ("schedule", "fingerprint", "error", "task_type")
#: Filters that have no control in the filter bar. The page shows them as chips, which can be
#: removed.
BESIDE = ("worker", "parent", "workflow", "schedule", "fingerprint", "task_type", *_MOMENTS)
#: Query parameters that are not simple filters of one field.
_OTHERS = ("cursor", "since", "owner")
KNOWN: Final = frozenset({*_SEVERAL, *_IDS, *_MOMENTS, *_TEXTS, *_OTHERS})
MAX_VALUES, MAX_TEXT = 20, 200

_NAME = re.compile(whole(r"[a-z0-9_.]{1,100}"))
_PARAM = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_.]*)\s*=\s*(.*?)\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Asked:
    """The filter read from a query string, and the rules that the query string breaks."""

    wanted: TaskFilter
    problems: tuple[FieldProblem, ...] = ()


def read(given: Given, now: datetime) -> Asked:
    """Read the filter from a query string. A parameter that cannot be read is left out and
    reported, so that the page still answers.
    """
    reading = _Reading(given)
    values: dict[str, Any] = {
        "status": reading.several("status", _status),
        "name": reading.several("name", _name),
        "queue": reading.several("queue", _name),
        "owner": reading.one("owner", _owner),
        "params": reading.params(),
        **{name: reading.one(name, _id) for name in _IDS},
        **{name: reading.one(name, _text) for name in _TEXTS},
        **{name: reading.moment(name) for name in _MOMENTS},
    }
    since = reading.one("since", _since)
    if since is not None and values["created_after"] is None:
        values["created_after"] = now - since
    reading.refuse_unknown()
    return Asked(TaskFilter(**values), tuple(reading.problems))


def canonical(given: Given) -> Given | None:
    """Return the parameters as a clean query string should have them, or None if they already are
    like that.

    A form sends empty fields, and sends a parameter of tasks inside one field, as in
    `params=user_id=7`.
    """
    tidy = [(name, value.strip()) for name, value in given if value.strip() and name != "params"]
    for name, value in given:
        found = _PARAM.fullmatch(value) if name == "params" else None
        if found is not None:
            tidy = [pair for pair in tidy if pair[0] != f"params.{found[1]}"]
            tidy.append((f"params.{found[1]}", found[2]))
    return None if tidy == list(given) else tidy


def beside(filters: Given) -> Given:
    """The filters that the filter bar cannot show, because it has no control for them or only for
    one of their values.
    """
    names = [name for name, _ in filters]
    return [
        (name, value)
        for name, value in filters
        if name in BESIDE or name.startswith(params_filter.PREFIX) or names.count(name) > 1
    ]


class _Reading:
    """Reads query parameters one by one, and collects the rules that they break."""

    def __init__(self, given: Given) -> None:
        self._given = given
        self.problems: list[FieldProblem] = []

    def several(self, name: str, parse: Any) -> list[Any] | None:
        values = [value for field, value in self._given if field == name][:MAX_VALUES]
        found = [each for each in (self._parsed(name, value, parse) for value in values) if each is not None]
        return found or None

    def one(self, name: str, parse: Any) -> Any:
        found = self.several(name, parse)
        return found[-1] if found else None

    def moment(self, name: str) -> datetime | None:
        try:
            return moments.read(self._value(name), name)
        except InvalidFields as error:
            self.problems += error.problems
            return None

    def params(self) -> Any:
        try:
            return params_filter.read(self._given)
        except InvalidFields as error:
            self.problems += error.problems
            return {}

    def refuse_unknown(self) -> None:
        for name, _ in self._given:
            if name not in KNOWN and not name.startswith(params_filter.PREFIX):
                rule = "is no filter: use params.name=value, for example user_id=7"
                self.problems.append(FieldProblem(name[:100], rule))

    def _value(self, name: str) -> str | None:
        return next((value for field, value in reversed(self._given) if field == name), None)

    def _parsed(self, name: str, value: str, parse: Any) -> Any:
        try:
            return parse(value)
        except ValueError as error:
            self.problems.append(FieldProblem(name, str(error)))
            return None


def _status(value: str) -> Status:
    if value not in set(Status):
        raise ValueError(f"must be one of {', '.join(Status)}")
    return Status(value)


def _name(value: str) -> str:
    if not _NAME.match(value):
        raise ValueError("must be lower case letters, digits, dots and underscores")
    return value


def _owner(value: str) -> int:
    owner = numbers.read(value)
    if owner is None or not accounts.is_possible(owner):
        raise ValueError("must be the id of an account")
    return owner


def _id(value: str) -> UUID:
    try:
        return UUID(value)
    except ValueError:
        raise ValueError("must be an id, a UUID of 36 characters") from None


def _text(value: str) -> str:
    if "\x00" in value or len(value) > MAX_TEXT:
        raise ValueError(f"must have at most {MAX_TEXT} characters, and no NUL among them")
    return value


def _since(value: str) -> timedelta:
    if value not in SINCE:
        raise ValueError(f"must be one of {', '.join(SINCE)}")
    return SINCE[value]
