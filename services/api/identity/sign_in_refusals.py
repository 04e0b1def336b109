"""What is refused for a while: sign-ins, and exports of accounts."""

from services.api.http.refusals import Wait


class LoginLocked(Wait):
    """Too many wrong passwords were given for one address."""

    kind = "login-locked"

    def __init__(self, wait_s: float) -> None:
        super().__init__("Too many wrong passwords were given for this address.", wait_s)


class TooManySignIns(Wait):
    """One network has as many sign-ins under way as it may have."""

    kind = "too-many-sign-ins"

    def __init__(self) -> None:
        super().__init__("Too many sign-ins from your address are under way.", 1)


class SignInBusy(Wait):
    """The queue in front of password hashing is full."""

    status, kind = 503, "sign-in-busy"

    def __init__(self) -> None:
        super().__init__("Too many people sign in at this moment.", 2)


class TooManyExports(Wait):
    """This process sends as many exports as it may at a time."""

    kind = "too-many-exports"

    def __init__(self) -> None:
        super().__init__("Too many accounts are being exported at this moment.", 10)
