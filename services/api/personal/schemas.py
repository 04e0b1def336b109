"""What requests about personal data bring."""

from typing import Annotated

from msgspec import Meta

from services.api.http.schemas import Body


class ErasureBody(Body):
    #: A stolen session alone must not erase the account.
    password: Annotated[str, Meta(max_length=1024)]
