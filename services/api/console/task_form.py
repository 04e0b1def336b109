"""The form that edits a task.

This module converts the form into a retry request, and broken rules into messages for each field.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from services.api.http import json_text
from services.api.tasks.schemas import TaskAnswer, TaskRetryBody
from shared.contracts import broken_rules
from shared.errors import FieldProblem, InvalidFields

#: The values of an empty edit form.
EMPTY: Final = {
    "params": "",
    "queue": "",
    "priority": "",
    "delay_s": "",
    "reason": "",
    "handlers": "",
}
_TEXTS, _NUMBERS = ("queue", "reason", "handlers"), ("priority", "delay_s")


def read(form: Mapping[str, str], task: TaskAnswer) -> TaskRetryBody:
    """Read the changes that the edit form makes to the task. Raises InvalidFields."""
    problems: list[FieldProblem] = []
    raw: dict[str, Any] = {name: form[name].strip() for name in _TEXTS if form.get(name, "").strip()}
    for name in ("params", *_NUMBERS):
        try:
            raw |= _parsed(name, form.get(name, "").strip())
        except ValueError as error:
            rule = str(error) if name == "params" else "must be a number"
            problems.append(FieldProblem(name, rule))
    if problems:
        raise InvalidFields(problems)
    for name in ("params", "queue", "priority"):
        if name in raw and raw[name] == getattr(task, name):
            del raw[name]
    try:
        return msgspec.convert(raw, TaskRetryBody)
    except msgspec.ValidationError as error:
        found = broken_rules.find(raw, TaskRetryBody, "")
        raise InvalidFields(found or [FieldProblem("", str(error))]) from None


def _parsed(name: str, text: str) -> dict[str, Any]:
    """Decode the text of one form field. An empty field is left out, except that of the parameters,
    which must not be empty.
    """
    return {name: json_text.read(text)} if text or name == "params" else {}


def edited(task: TaskAnswer, body: TaskRetryBody) -> dict[str, Any]:
    """The queue, priority and parameters that the task will have after the edit."""
    return {
        "queue": body.queue or task.queue,
        "priority": task.priority if body.priority is None else body.priority,
        "params": task.params if body.params is None else body.params,
    }


def by_field(problems: Sequence[FieldProblem]) -> dict[str, str]:
    """Messages for each field of the edit form. All rules about parameters belong to its one field
    for parameters.
    """
    rules: dict[str, str] = {}
    for each in problems:
        name, _, inner = each.field.partition(".")
        text = f"{inner} {each.rule}" if inner else each.rule
        rules[name] = f"{rules[name]}; {text}" if name in rules else text
    return rules
