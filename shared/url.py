"""What the addresses of servers have in common: no message shows any part of one.

A password that is not percent-encoded may be anywhere in it.
"""

import re

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?)(?::([0-9]{1,5}))?")
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


def host_and_port(text: str, default_port: int) -> tuple[str, int]:
    """Take `host`, `host:port` or `[address]:port` apart. Raises BrokenRule."""
    found = _HOST.fullmatch(text)
    if found is None:
        raise BrokenRule(
            f"must name a host, and a port as a number: host:{default_port}, or [::1]:{default_port} for IPv6"
        )
    return found[1].strip("[]"), port(found[2] or str(default_port))


def port(text: str) -> int:
    """Raises BrokenRule."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65_535:
        raise BrokenRule("must have a port between 1 and 65535")
    return int(text)
