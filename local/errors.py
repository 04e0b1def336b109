"""What the launcher says when it cannot go on."""

from shared.errors import OftenError


class LaunchError(OftenError):
    """The system cannot start or stay up; the message tells a person what to do."""
