"""Base classes of all request and response bodies. msgspec validates them, and Litestar documents
them.
"""

from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta, Struct

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
        for field, name in zip(self.__struct_fields__, self.__struct_encode_fields__, strict=True):
            value = getattr(self, field)
            if isinstance(value, datetime) and not moments.is_in_range(value):
                raise ValueError(f"{name} {moments.RANGE_RULE}")


class ReasonBody(Body):
    reason: Reason | None = None


class Answer(Struct):
    """Base class of response bodies."""
