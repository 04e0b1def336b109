"""What all bodies and answers share. msgspec checks them, Litestar documents them."""

from typing import Annotated

from msgspec import Meta, Struct

from shared.contracts.patterns import whole

#: The reason of an act, for the audit log.
Reason = Annotated[
    str, Meta(max_length=500, pattern=whole(r"[^\x00-\x1f\x7f]+"), description="Why, for the audit log")
]
Text = Annotated[str, Meta(max_length=320)]
Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class Body(Struct, forbid_unknown_fields=True):
    """Base of what requests bring: unknown fields are refused."""


class Answer(Struct):
    """Base of what answers carry."""
