"""Errors of requests that confirm a mail address or ask for the confirmation mail."""

from services.api.http.refusals import Refusal, Wait


class UnknownConfirmation(Refusal):
    """Raised when a confirmation token is unknown, used, replaced or expired, or its account is not
    active.
    """

    status, kind = 404, "unknown-confirmation"

    def __init__(self) -> None:
        super().__init__(
            "This link is incomplete, was used or replaced, or has expired. Open the newest mail, or sign in "
            "and ask for another one with POST /api/v1/auth/me/verification."
        )


class AddressVerified(Refusal):
    """Raised when a confirmation mail is requested but the address is already verified."""

    status, kind = 409, "address-verified"

    def __init__(self) -> None:
        super().__init__("Your address is already confirmed. Change it with PUT /api/v1/auth/me/email.")


class TooManyConfirmations(Wait):
    """Raised when an account or an address has already received the maximum number of confirmation
    mails per hour.
    """

    kind = "too-many-confirmations"

    def __init__(self, most: int, wait_s: float) -> None:
        super().__init__(f"At most {most} mails an hour are sent to confirm an address.", wait_s)
