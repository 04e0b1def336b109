"""Request bodies of the routes for personal data."""

from typing import Annotated

from msgspec import Meta

from services.api.http.schemas import Body


class ErasureBody(Body):
    #: The account's password. It is required, so that someone with a stolen session cannot erase
    #: the account.
    password: Annotated[str, Meta(max_length=1024)]
