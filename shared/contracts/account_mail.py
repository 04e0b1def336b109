"""Mail about accounts: what the platform hands to the application that sends it.

The platform has no mail server. An application names a contract with these parameters as its `account_mail`.
"""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from shared.contracts.contract import Params
from shared.contracts.sensitivity import SENSITIVE

#: How long the link in a mail works.
CONFIRMATION_LIFE = timedelta(hours=24)


class AccountMailKind(StrEnum):
    """What a mail says."""

    #: Asks whether the address belongs to the account. The only kind with a token.
    CONFIRM = "confirm"
    #: Says that an account asked for this address, which another account has.
    TAKEN = "taken"
    #: Says to the present address that the account asked for another one.
    CHANGE = "change"


class SendAccountMail(Params):
    kind: AccountMailKind
    #: The account that caused the mail; that of the address may be another one.
    user_id: int
    #: Where the mail goes, verified or not: the question itself must reach an address that is not verified.
    address: Annotated[str, SENSITIVE, Meta(max_length=320)]
    #: Confirms the address. It proves that its holder reads the mailbox, so it is sealed.
    token: Annotated[str | None, SENSITIVE] = None
