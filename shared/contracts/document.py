"""Encodes parameters and results as JSON documents that Postgres can store."""

import math
from collections.abc import Iterator
from typing import Any

import msgspec

from shared.contracts import nesting
from shared.errors import FieldProblem, InvalidFields


def encode(value: Any, root: str, max_bytes: int) -> str:
    """Encode a value as JSON text that Postgres' type jsonb accepts.

    Raises InvalidFields for a NUL character, a lone surrogate, NaN or infinity, for a text of more
    than `max_bytes`, and for a document that is nested too deeply.
    """
    try:
        encoded = msgspec.json.encode(value)
    except UnicodeEncodeError:
        encoded = b"\\u0000"
    except RecursionError:
        raise InvalidFields([FieldProblem(root, nesting.RULE)]) from None
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidFields([FieldProblem(root, f"cannot be stored as JSON: {error}")]) from None
    if nesting.is_too_deep(encoded):
        raise InvalidFields([FieldProblem(root, nesting.RULE)])
    text = encoded.decode()
    # The whole value is searched only if its text contains an escaped NUL character, or null, which
    # is how msgspec writes NaN. Both are rare.
    if "\\u0000" in text or "null" in text:
        problems = list(_unstorable(msgspec.to_builtins(value), root))
        if problems:
            raise InvalidFields(problems)
    if len(encoded) > max_bytes:
        rule = f"must be at most {max_bytes} bytes as JSON, but is {len(encoded)}"
        raise InvalidFields([FieldProblem(root, rule)])
    return text


def _unstorable(value: Any, path: str) -> Iterator[FieldProblem]:
    match value:
        case str():
            if "\x00" in value:
                yield FieldProblem(path, "must not contain the NUL character")
            elif any("\ud800" <= c <= "\udfff" for c in value):
                yield FieldProblem(path, "must not contain half a surrogate pair")
        case float() if not math.isfinite(value):
            yield FieldProblem(path, "must be a finite number")
        case dict():
            for key, item in value.items():
                yield from _unstorable(key, f"{path}.{key!r}")
                yield from _unstorable(item, f"{path}.{key}")
        case list() | tuple():
            for index, item in enumerate(value):
                yield from _unstorable(item, f"{path}[{index}]")
