"""Errors of sign-ins that are temporary, so that the caller can try again later."""

from services.api.http.refusals import Wait


class LoginLocked(Wait):
    """Raised when too many wrong passwords were sent for one address."""

    kind = "login-locked"

    def __init__(self, wait_s: float) -> None:
        super().__init__("Too many wrong passwords were given for this address.", wait_s)


class TooManySignIns(Wait):
    """Raised when the client's network already has the maximum number of sign-ins in progress."""

    kind = "too-many-sign-ins"

    def __init__(self) -> None:
        super().__init__("Too many sign-ins from your address are under way.", 1)


class SignInBusy(Wait):
    """Raised when the queue of requests that wait for password hashing is full."""

    status, kind = 503, "sign-in-busy"

    def __init__(self) -> None:
        super().__init__("Too many people sign in at this moment.", 2)
