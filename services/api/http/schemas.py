"""Base classes of all request and response bodies. msgspec validates them, and Litestar documents
them.
"""

import functools
from datetime import datetime
from typing import Annotated, Any, Final, get_args

from msgspec import Meta, Struct, structs

from services.api.http import moments
from shared.contracts.patterns import whole

MAX_REASON: Final = 500
#: A text in which a caller gives the reason for an action. The audit log records it.
Reason = Annotated[
    str,
    Meta(max_length=MAX_REASON, pattern=whole(r"[^\x00-\x1f\x7f]+"), description="Why, for the audit log"),
]
Text = Annotated[str, Meta(max_length=320)]
Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class Body(Struct, forbid_unknown_fields=True):
    """Base class of request bodies. A request with unknown fields is refused, and so is a time that
    Postgres cannot store.
    """

    def __post_init__(self) -> None:
        for field, name in _times_of(type(self)):
            value = getattr(self, field)
            if isinstance(value, datetime) and not moments.is_in_range(value):
                raise ValueError(f"{name} {moments.RANGE_RULE}")


@functools.cache
def _times_of(kind: type[Body]) -> tuple[tuple[str, str], ...]:
    """The fields of a body that may hold a time, each with its name in JSON."""
    return tuple(
        (field.name, field.encode_name) for field in structs.fields(kind) if _may_be_time(field.type)
    )


def _may_be_time(kind: Any) -> bool:
    return kind is datetime or any(_may_be_time(part) for part in get_args(kind))


class ReasonBody(Body):
    reason: Reason | None = None


class Answer(Struct):
    """Base class of response bodies."""
