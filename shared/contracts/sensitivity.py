"""Marks fields that must not be read by everybody: `card_number: Annotated[str, SENSITIVE]`."""

from collections.abc import Iterable
from typing import Any

import msgspec

#: Encrypted in the row, masked in answers, kept out of logs, errors and metrics.
SENSITIVE = msgspec.Meta(extra={"sensitive": True})


def sensitive_fields(struct: type[msgspec.Struct]) -> frozenset[str]:
    """The fields of `struct`, as JSON names them, that are marked or hold something marked.

    A mark deep inside a field makes the whole field sensitive: it is encrypted in one piece.
    """
    described: Any = msgspec.inspect.type_info(struct)
    return frozenset(field.encode_name for field in described.fields if _is_marked(field.type, set()))


def _is_marked(kind: Any, seen: set[type]) -> bool:
    """Walk msgspec's description of a type; `seen` ends the walk where structs contain themselves."""
    if isinstance(kind, msgspec.inspect.Metadata) and (kind.extra or {}).get("sensitive"):
        return True
    return any(_is_marked(each, seen) for each in _inside(kind, seen))


def _inside(kind: Any, seen: set[type]) -> Iterable[Any]:
    """The types that a type is made of."""
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
