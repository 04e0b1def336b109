"""Converts the JSON Schema of a task's parameters into form fields, and a submitted form into
parameters.

A parameter for which there is no other form field gets a field for JSON text. This module validates
nothing, because the task contract validates the result.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from services.api.http import json_text
from shared.errors import FieldProblem, InvalidFields

#: Prefix of the names of form fields that contain task parameters.
PREFIX: Final = "p."
#: Upper bounds above this number come from the type of the database column, so the form does not
#: show them.
LARGE: Final = 2**53
_NUMBERS: Final = frozenset({"integer", "number"})


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    #: Kind of the form field: text, number, boolean, choice or json.
    kind: str
    required: bool
    hint: str
    choices: tuple[str, ...] = ()
    is_sensitive: bool = False


def fields(schema: Mapping[str, Any]) -> list[Field]:
    """The form fields for a schema: required ones first, each part in the order of the task
    contract.
    """
    definitions = schema.get("$defs", {})
    found = _resolved(schema, definitions)
    required = set(found.get("required", ()))
    made = [_field(name, each, name in required, definitions) for name, each in found["properties"].items()]
    return sorted(made, key=lambda field: not field.required)


def params(form: Mapping[str, str], wanted: list[Field]) -> dict[str, Any]:
    """Read the parameters from the form. An empty field that is not required is left out.

    Raises InvalidFields for text that is not JSON.
    """
    found: dict[str, Any] = {}
    problems = []
    for field in wanted:
        text = form.get(PREFIX + field.name, "")
        if not text.strip() and not (field.required and field.kind == "text"):
            continue
        try:
            found[field.name] = text if field.kind in ("text", "choice") else json_text.read(text)
        except ValueError as error:
            rule = "must be a number" if field.kind == "number" else str(error)
            problems.append(FieldProblem(f"params.{field.name}", rule))
    if problems:
        raise InvalidFields(problems)
    return found


def _field(name: str, schema: Mapping[str, Any], required: bool, definitions: Mapping[str, Any]) -> Field:
    options = [_resolved(each, definitions) for each in schema.get("anyOf", [schema])]
    known = [each for each in options if each.get("type") != "null"]
    main = known[0] if len(known) == 1 else {}
    kind, choices = _kind(main)
    return Field(name, kind, required, _hint(main, schema), choices, bool(schema.get("x-sensitive")))


def _kind(schema: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    values = schema.get("enum")
    if values and all(isinstance(value, str) for value in values):
        return "choice", tuple(values)
    if schema.get("type") == "boolean":
        return "boolean", ()
    if schema.get("type") in _NUMBERS:
        return "number", ()
    return ("text", ()) if schema.get("type") == "string" else ("json", ())


def _hint(main: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    parts = [str(main.get("description") or schema.get("description") or "")]
    if "format" in main:
        parts.append(str(main["format"]))
    lowest, highest = main.get("minimum"), main.get("maximum")
    if highest is not None and highest > LARGE:
        highest = None
    if lowest is not None or highest is not None:
        bounds = f"{lowest} or more" if highest is None else f"{highest} or less"
        parts.append(bounds if None in (lowest, highest) else f"{lowest} to {highest}")
    if schema.get("default") is not None:
        parts.append(f"{json.dumps(schema['default'])} if left empty")
    return ", ".join(part for part in parts if part)


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    return definitions[reference.rpartition("/")[2]] if reference else schema
