"""Defines the errors that only the console raises."""

from services.api.http.refusals import Refusal


class NotFromHere(Refusal):
    """Raised when a form did not come from one of the console's pages."""

    status, kind = 403, "not-from-here"

    def __init__(self, lacks: str) -> None:
        """`lacks` is a sentence that says which proof of the form's origin is missing or wrong."""
        super().__init__(f"Nothing was changed: {lacks} Load the page again and repeat it.")


class NeedsHttps(Refusal):
    """Raised when a browser reached the sign-in over plain HTTP from another machine, so a session
    would not be safe.
    """

    status, kind = 403, "needs-https"

    def __init__(self) -> None:
        super().__init__(
            "This page came over plain HTTP, where everybody on the way could read your session. Serve the "
            "API over HTTPS. If a proxy does that already, add its address to FORWARDED_ALLOW_IPS and let it "
            "send X-Forwarded-Proto."
        )


class PageNotFound(Refusal):
    """Raised when no page of the console has this address."""

    status, kind = 404, "page-not-found"

    def __init__(self) -> None:
        super().__init__("There is no page at this address. The menu leads to those that exist.")
