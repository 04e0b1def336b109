"""Defines the result of a check, which `often doctor` prints on one line."""

from typing import NamedTuple


class Finding(NamedTuple):
    """The result of one check of `often doctor`. `remedy` says what to do next if the check
    failed.
    """

    check: str
    is_ok: bool
    detail: str
    remedy: str = ""
