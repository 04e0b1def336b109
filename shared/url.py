"""Parsing rules that the URLs of Postgres and Redis have in common.

No error message shows any part of a URL, because a password that is not percent-encoded may end up
in any part.
"""

import re

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?)(?::([0-9]{1,5}))?")
#: Maps characters that separate the parts of a URL to the percent-encoding that they need in a user
#: name, a password or an option.
_ENCODED = {"#": "%23", "/": "%2F", "?": "%3F", "@": "%40", "[": "%5B", "]": "%5D"}


class BrokenRule(ValueError):
    """A URL is invalid. The message is the rule that it breaks."""


def refuse_unencoded(url: str) -> None:
    """Refuse unencoded special characters. In most cases, they belong to a password that must be
    percent-encoded.

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


def host_and_port(text: str, default_port: int) -> tuple[str, int]:
    """Parse the host part of a URL: `host`, `host:port` or `[address]:port`. Raises BrokenRule."""
    found = _HOST.fullmatch(text)
    if found is None:
        raise BrokenRule(
            f"must name a host, and a port as a number: host:{default_port}, or [::1]:{default_port} for IPv6"
        )
    return found[1].strip("[]"), port(found[2] or str(default_port))


def port(text: str) -> int:
    """Parse a port number. Raises BrokenRule."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65_535:
        raise BrokenRule("must have a port between 1 and 65535")
    return int(text)
