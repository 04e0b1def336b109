"""Marks fields that must not be read by everybody: `card_number: Annotated[str, SENSITIVE]`."""

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
    match kind:
        case msgspec.inspect.Metadata(type=inner, extra=extra):
            if (extra or {}).get("sensitive"):
                return True
            inside = [inner]
        case msgspec.inspect.UnionType(types=types) | msgspec.inspect.TupleType(item_types=types):
            inside = list(types)
        case msgspec.inspect.DictType(key_type=key, value_type=value):
            inside = [key, value]
        case msgspec.inspect.StructType(cls=cls, fields=fields):
            inside = [] if cls in seen else [field.type for field in fields]
            seen.add(cls)
        case _:
            inside = [item for item in [getattr(kind, "item_type", None)] if item is not None]
    return any(_is_marked(each, seen) for each in inside)
