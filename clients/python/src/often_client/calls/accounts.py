"""API calls for accounts, sessions and API keys."""

from collections.abc import Sequence
from uuid import UUID

from often_client.answers import Account, Key, NewKey, Page, Tokens
from often_client.exchange import Call, Steps
from often_client.methods import Calls, listing, method

#: The scopes that an API key may have.
SCOPES = tuple(
    f"{area}:{act}" for area in ("tasks", "schedules", "accounts", "operations") for act in ("read", "write")
)


class AccountCalls(Calls):
    @method
    def register(self, email: str, password: str, full_name: str | None = None) -> Steps[Account]:
        """Create an account."""
        body = {"email": email, "password": password, "full_name": full_name}
        return self._ask(Call("POST", "auth/register", Account, body=body))

    @method
    def sign_in(self, email: str, password: str) -> Steps[None]:
        """Sign in with a password. The client then renews the session's tokens by itself.

        Programs should use an API key instead.
        """
        body = {"email": email, "password": password}
        self.session.sign_in((yield from self._ask(Call("POST", "auth/login", Tokens, body=body))))

    @method
    def sign_out(self) -> Steps[None]:
        """End the session of this client."""
        body = {"refresh_token": self.session.refresh_token}
        return self._ask(Call("POST", "auth/logout", type(None), body=body))

    @method
    def me(self) -> Steps[Account]:
        """Return the account that the client acts as."""
        return self._ask(Call("GET", "auth/me", Account))

    @method
    def create_key(self, name: str, scopes: Sequence[str], *, expires_in_days: int = 90) -> Steps[NewKey]:
        """Create an API key. Requires a session: a key cannot create another one."""
        body = {"name": name, "scopes": list(scopes), "expires_in_days": expires_in_days}
        return self._ask(Call("POST", "keys", NewKey, body=body))

    @listing
    def keys(self, *, page_size: int | None = None) -> Call[Page[Key]]:
        """List the API keys of this account, newest first. Requires a session."""
        return Call("GET", "keys", Page[Key], query={"limit": page_size})

    @method
    def revoke_key(self, key_id: UUID) -> Steps[None]:
        """Revoke an API key. Requires a session."""
        return self._ask(Call("DELETE", f"keys/{key_id}", type(None)))
