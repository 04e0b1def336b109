"""Describes the caller of a request for the audit log."""

from dataclasses import dataclass
from typing import Self
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who performs an action: the caller of a request, or the operator who runs a command."""

    #: Id of the account that acts. None if the caller is not signed in.
    account: int | None = None
    #: How the actor was identified: "session", "key" (an API key) or "command line". None if the
    #: caller is not signed in.
    credential: str | None = None
    #: Id of the session or of the API key that the request used.
    credential_id: UUID | None = None
    #: The client's network: an IPv4 address or an IPv6 /64, as in rate limits. Empty for a command.
    network: str = ""
    request_id: str | None = None

    @classmethod
    def of_command_line(cls) -> Self:
        """Return the actor for a command that an operator runs on a machine of the platform."""
        return cls(credential="command line")
