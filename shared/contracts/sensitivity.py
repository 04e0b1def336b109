"""Marks fields that only authorized users may read: `card_number: Annotated[str, SENSITIVE]`."""

from collections.abc import Iterable
from typing import Any

import msgspec

#: Marks a field as sensitive. Its value is encrypted in the database, masked in API responses, and
#: kept out of logs, errors and metrics.
SENSITIVE = msgspec.Meta(extra={"sensitive": True})


def sensitive_fields(struct: type[msgspec.Struct]) -> frozenset[str]:
    """The JSON names of the fields of `struct` that are marked or contain a marked field.

    A mark deep inside a field makes the whole field sensitive, because it is encrypted as one
    piece.
    """
    described: Any = msgspec.inspect.type_info(struct)
    return frozenset(field.encode_name for field in described.fields if _is_marked(field.type, set()))


def _is_marked(kind: Any, seen: set[type]) -> bool:
    """True if a type, as msgspec describes it, is marked as sensitive or contains a marked type.

    `seen` stops the search if structs contain themselves.
    """
    if isinstance(kind, msgspec.inspect.Metadata) and (kind.extra or {}).get("sensitive"):
        return True
    return any(_is_marked(each, seen) for each in _inside(kind, seen))


def _inside(kind: Any, seen: set[type]) -> Iterable[Any]:
    """The types that a type directly contains, such as the members of a union or the items of a
    list.
    """
    match kind:
        case msgspec.inspect.Metadata(type=inner):
            return [inner]
        case msgspec.inspect.UnionType(types=types) | msgspec.inspect.TupleType(item_types=types):
            return types
        case msgspec.inspect.DictType(key_type=key, value_type=value):
            return [key, value]
        case msgspec.inspect.StructType(cls=cls, fields=fields):
            known = cls in seen
            seen.add(cls)
            return [] if known else [field.type for field in fields]
    return [item for item in [getattr(kind, "item_type", None)] if item is not None]
