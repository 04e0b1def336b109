"""Compares types of two contracts, to check whether the result of one task, or a field of it, can
be a parameter of another task.
"""

import types
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from shared.contracts.outcome import StepOutcome
from shared.workflows.reference import Kind


def fits(have: Any, want: Any) -> bool:
    """True if a value of type `have` can be used as a `want`: the types are equal, `want` is an
    optional form of the type, an int is used as a float, or both are lists whose items fit. Lengths
    and ranges are checked only when the value is known.
    """
    have, want = _bare(have), _bare(want)
    if want is Any or have == want or (have is int and want is float):
        return True
    if arms := _arms(have):
        return all(fits(arm, want) for arm in arms)
    if arms := _arms(want):
        return any(fits(have, arm) for arm in arms)
    if get_origin(have) is list and get_origin(want) is list:
        return fits(get_args(have)[0], get_args(want)[0])
    return False


def item_of(kind: Any) -> Any:
    """The type of the items of a list type, which may be optional. Returns None for other types."""
    kind = _bare(kind)
    lists = [arm for arm in _arms(kind) or [kind] if get_origin(_bare(arm)) is list]
    return get_args(_bare(lists[0]))[0] if lists else None


def type_at(result: type[msgspec.Struct], path: tuple[str, ...]) -> Any:
    """The type of the field to which a path of JSON names leads inside a result. Returns None if
    there is no such field.
    """
    found: Any = result
    for name in path:
        found = next((_bare(field.type) for field in _fields(found) if field.encode_name == name), None)
    return found


def in_json(result: type[msgspec.Struct], path: tuple[str, ...]) -> tuple[str, ...]:
    """Convert a path of Python attribute names to the JSON names of the same fields."""
    found: Any = result
    names: list[str] = []
    for name in path:
        field = next((field for field in _fields(found) if field.name == name), None)
        names.append(field.encode_name if field else name)
        found = _bare(field.type) if field else None
    return tuple(names)


def type_of(kind: Kind, result: Any) -> Any:
    """The type of the value that a reference of this kind provides, given the type of the step's
    result.
    """
    match kind:
        case Kind.RESULT:
            return result
        case Kind.RESULTS:
            return list[result]
        case Kind.OUTCOME:
            return StepOutcome
    return list[StepOutcome]


def name_of(kind: Any) -> str:
    """The name of a type for error messages."""
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)


def _fields(kind: Any) -> tuple[Any, ...]:
    is_struct = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    return msgspec.structs.fields(kind) if is_struct else ()


def _bare(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _arms(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else ()
