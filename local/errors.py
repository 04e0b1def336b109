"""Defines the error that the launcher raises when it cannot continue."""

from shared.errors import OftenError


class LaunchError(OftenError):
    """The local system cannot start or keep running. The message says what to do."""
