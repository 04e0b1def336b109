"""What all bodies and answers share. msgspec checks them, Litestar documents them."""

from typing import Annotated

from msgspec import Meta, Struct

Text = Annotated[str, Meta(max_length=320)]
Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class Body(Struct, forbid_unknown_fields=True):
    """Base of what requests bring: unknown fields are refused."""


class Answer(Struct):
    """Base of what answers carry."""
