"""Whether a result, or a field of it, may fill a parameter: compares the types that two contracts declare."""

import types
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from shared.contracts.outcome import StepOutcome
from shared.workflows.reference import Kind


def fits(have: Any, want: Any) -> bool:
    """Equal, optional of it, int for float, or a list of what fits. Lengths and ranges are checked later."""
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
    """The type of a list's items, also where the list may be None; None when it is no list."""
    kind = _bare(kind)
    lists = [arm for arm in _arms(kind) or [kind] if get_origin(_bare(arm)) is list]
    return get_args(_bare(lists[0]))[0] if lists else None


def type_at(result: type[msgspec.Struct], path: tuple[str, ...]) -> Any:
    """The type of a result's field, whose path has the names of JSON; None when there is none."""
    found: Any = result
    for name in path:
        found = next((_bare(field.type) for field in _fields(found) if field.encode_name == name), None)
    return found


def in_json(result: type[msgspec.Struct], path: tuple[str, ...]) -> tuple[str, ...]:
    """A path of attributes as JSON names them."""
    found: Any = result
    names: list[str] = []
    for name in path:
        field = next((field for field in _fields(found) if field.name == name), None)
        names.append(field.encode_name if field else name)
        found = _bare(field.type) if field else None
    return tuple(names)


def type_of(kind: Kind, result: Any) -> Any:
    """The type of what a reference of this kind gives."""
    match kind:
        case Kind.RESULT:
            return result
        case Kind.RESULTS:
            return list[result]
        case Kind.OUTCOME:
            return StepOutcome
    return list[StepOutcome]


def name_of(kind: Any) -> str:
    """A type in words."""
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)


def _fields(kind: Any) -> tuple[Any, ...]:
    is_struct = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    return msgspec.structs.fields(kind) if is_struct else ()


def _bare(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _arms(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else ()
