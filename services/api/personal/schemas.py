"""What requests about personal data bring."""

from typing import Annotated

from msgspec import Meta

from services.api.http.schemas import Body


class ErasureBody(Body):
    #: Whoever found an open session must not be able to erase the account.
    password: Annotated[str, Meta(max_length=1024)]
