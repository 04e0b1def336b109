"""What the addresses of servers have in common: no message shows any part of one.

A password that is not percent-encoded may be anywhere in it.
"""

#: Characters that end a part of the URL, and how to write them in a user name, a password or an option.
_ENCODED = {"#": "%23", "/": "%2F", "?": "%3F", "@": "%40", "[": "%5B", "]": "%5D"}


class BrokenRule(ValueError):
    """The URL breaks a rule; the message is the rule."""


def refuse_unencoded(url: str) -> None:
    """Refuse characters that mean something else where they are; most often they are part of a password.

    Raises BrokenRule.
    """
    rest = url.partition("://")[2]
    if any(ord(c) <= 32 or ord(c) == 127 for c in url):
        raise BrokenRule("must not contain spaces, line breaks or control characters")
    before, _, after = rest.rpartition("@")
    wrong = "".join(c for c in _ENCODED if c in before)
    wrong += "#" if "#" in after and "#" not in wrong else ""
    if wrong:
        instead = ", ".join(f"{_ENCODED[c]} for {c}" for c in wrong)
        raise BrokenRule(f"must have special characters of its password percent-encoded: write {instead}")
