"""Refuses times without a zone in parameters and results."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from shared.errors import FieldProblem, InvalidFields


def fields_of(struct: type[msgspec.Struct]) -> dict[str, str]:
    """The fields of a struct that may contain a time without a zone, with their names in JSON."""
    described: Any = msgspec.inspect.type_info(struct)
    return {each.name: each.encode_name for each in described.fields if _describes_times(each.type, set())}


def _describes_times(described: Any, seen: set[int]) -> bool:
    """True if a type, as msgspec describes it, may contain a time without a zone.

    `seen` stops the search if structs contain themselves.
    """
    if id(described) in seen:
        return False
    seen.add(id(described))
    match described:
        case msgspec.inspect.DateTimeType(tz=None):
            return True
        case tuple():
            return any(_describes_times(each, seen) for each in described)
        case msgspec.Struct():
            return any(
                _describes_times(getattr(described, name), seen) for name in described.__struct_fields__
            )
    return False


def refuse(value: msgspec.Struct, fields: Mapping[str, str], root: str) -> None:
    """Raise InvalidFields for a time without a zone.

    Such a time would mean another moment on each machine.
    """
    problems: list[FieldProblem] = []
    for name, in_json in fields.items():
        if (held := getattr(value, name)) is not msgspec.UNSET:
            plain = msgspec.to_builtins(held, builtin_types=(datetime,))
            problems += _find(plain, f"{root}.{in_json}")
    if problems:
        raise InvalidFields(problems)


def _find(value: Any, path: str) -> Iterator[FieldProblem]:
    match value:
        case datetime() if value.tzinfo is None:
            yield FieldProblem(path, "must carry a time zone, for example 2026-11-22T12:00:00Z")
        case dict():
            for key, item in value.items():
                yield from _find(item, f"{path}.{key}")
        case list() | tuple():
            for index, item in enumerate(value):
                yield from _find(item, f"{path}[{index}]")
