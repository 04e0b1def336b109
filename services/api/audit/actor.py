"""Who acts: what the audit log says about the caller of a request."""

from dataclasses import dataclass
from typing import Self
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """The caller of a request, or of a command."""

    #: Id of the account; None without a sign-in.
    account: int | None = None
    #: "session", "key" or "command line"; None without a sign-in.
    credential: str | None = None
    #: Id of the session or the key.
    credential_id: UUID | None = None
    #: The network that the request came from, as rate limits count it; empty for a command.
    network: str = ""
    request_id: str | None = None

    @classmethod
    def of_command_line(cls) -> Self:
        """An operator with a shell on a machine of the platform."""
        return cls(credential="command line")
