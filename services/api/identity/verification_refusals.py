"""What is refused to people who confirm an address or ask for the mail to do so."""

from services.api.http.refusals import Refusal, Wait


class UnknownConfirmation(Refusal):
    """The token is unknown, used, replaced or expired, or its account is not active."""

    status, kind = 404, "unknown-confirmation"

    def __init__(self) -> None:
        super().__init__(
            "This link is not whole, was used or replaced, or has expired. Open the newest mail, or sign in "
            "and ask for another one with POST /api/v1/auth/me/verification."
        )


class AddressVerified(Refusal):
    """There is nothing to confirm."""

    status, kind = 409, "address-verified"

    def __init__(self) -> None:
        super().__init__("Your address is confirmed already. Change it with PUT /api/v1/auth/me/email.")


class TooManyConfirmations(Wait):
    """The account, or the address, has had as many mails as it may have for now."""

    kind = "too-many-confirmations"

    def __init__(self, most: int, wait_s: float) -> None:
        super().__init__(f"{most} mails an hour are sent to confirm an address.", wait_s)
