"""Lists all rules of a struct that a JSON value breaks, because msgspec stops at the first one.

Each problem names its field by the path in the JSON document, such as `params.filters.stars[0]`.
"""

import re
from collections.abc import Iterator
from enum import Enum
from itertools import islice
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from shared.errors import FieldProblem

#: Maximum number of problems reported for one value.
MAX_PROBLEMS = 100

_PATH = re.compile(r" - at `\$(?P<path>[^`]*)`\Z")
#: Matches error messages that begin with the name of a field, such as "check_out must be later than
#: check_in".
_FIELD_FIRST = re.compile(r"([a-z][a-z0-9_]*) (must .*)", re.DOTALL)


def find(value: Any, kind: Any, root: str) -> list[FieldProblem]:
    """List the rules of the type `kind` that `value` breaks. Empty if `value` is valid."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        inside = list(islice(_inside(value, kind, root), MAX_PROBLEMS))
        # If no single field breaks a rule, the value as a whole breaks one, and msgspec's error
        # names it.
        return inside or [one_of(read(str(error), root), kind)]
    return []


def read(message: str, root: str) -> FieldProblem:
    """Convert an error message of msgspec into a FieldProblem.

    The message consists of the broken rule, possibly with the name of a field, and of the path in
    backticks.
    """
    found = _PATH.search(message)
    path = (root + (found["path"] if found else "")).lstrip(".")
    rule = message[: found.start()] if found else message
    if named := re.search(r"(?:required|unknown) field `([^`]+)`", rule):
        kind = "is required" if "required" in named[0] else "is not a known field"
        return FieldProblem(f"{path}.{named[1]}".lstrip("."), kind)
    if first := _FIELD_FIRST.fullmatch(rule):
        return FieldProblem(f"{path}.{first[1]}".lstrip("."), first[2])
    return FieldProblem(path, rule[:1].lower() + rule[1:])


def choices(kind: Any) -> list[str]:
    """List the values of an enumeration or a Literal, also inside optional types and lists."""
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [str(member.value) for member in kind]
    if get_origin(kind) is Literal:
        return [str(value) for value in get_args(kind)]
    return [choice for part in get_args(kind) for choice in choices(part)]


def one_of(problem: FieldProblem, kind: Any) -> FieldProblem:
    """Name the allowed values in the problem if the field is an enumeration."""
    if problem.rule.startswith("invalid enum value") and (allowed := choices(kind)):
        return FieldProblem(problem.field, f"must be one of {', '.join(allowed)}")
    return problem


def _inside(value: Any, kind: Any, root: str) -> Iterator[FieldProblem]:
    """Yield the problems of the fields of an object or of the items of a list."""
    for part in _parts(kind):
        if isinstance(value, dict) and isinstance(part, type) and issubclass(part, msgspec.Struct):
            yield from _in_fields(value, part, f"{root}." if root else "")
        elif isinstance(value, list) and get_origin(part) in (list, tuple):
            for index, item in enumerate(value):
                yield from find(item, get_args(part)[0], f"{root}[{index}]")


def _in_fields(value: dict[Any, Any], struct: type[msgspec.Struct], prefix: str) -> Iterator[FieldProblem]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for name, field in fields.items():
        if name in value:
            yield from find(value[name], field.type, f"{prefix}{name}")
        elif field.required:
            yield FieldProblem(f"{prefix}{name}", "is required")
    if struct.__struct_config__.forbid_unknown_fields:
        for name in value:
            if name not in fields:
                yield FieldProblem(f"{prefix}{name}", "is not a known field")


def _parts(kind: Any) -> list[Any]:
    """List the types that a value may have: the members of a union, without annotations."""
    if get_origin(kind) is Annotated:
        return _parts(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return [part for each in get_args(kind) for part in _parts(each)]
    return [kind]
