"""Defines the parameters of mail about accounts, such as the mail that confirms an address.

The platform has no mail server. An application that can send mail declares a contract with these
parameters as its `account_mail`, and the platform submits its tasks.
"""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from shared.contracts.contract import Params
from shared.contracts.sensitivity import SENSITIVE

#: Time after which the link in a confirmation mail expires.
CONFIRMATION_LIFE = timedelta(hours=24)


class AccountMailKind(StrEnum):
    """The purpose of a mail about an account."""

    #: Asks the recipient to confirm that the address belongs to the account. Only this mail has a
    #: token.
    CONFIRM = "confirm"
    #: Tells the owner of an address that another account has requested to use this address.
    TAKEN = "taken"
    #: Tells the owner of an account, at the current address, that a change to another address was
    #: requested.
    CHANGE = "change"


class SendAccountMail(Params):
    kind: AccountMailKind
    #: Id of the account that caused the mail. The address may belong to another account.
    user_id: int
    #: Mail address of the recipient, which may not be confirmed yet: a confirmation mail must be
    #: sent to an address that is not verified.
    address: Annotated[str, SENSITIVE, Meta(max_length=320)]
    #: The token with which the recipient confirms the address. It is encrypted, because it proves
    #: that its holder can read the mailbox.
    token: Annotated[str | None, SENSITIVE] = None
