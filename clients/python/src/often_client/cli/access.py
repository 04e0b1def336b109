"""Finds the API and the credentials that a command uses."""

import os
from functools import cached_property
from typing import TYPE_CHECKING

import rich_click as click

from often_client.cli import profile
from often_client.cli.profile import Profile
from often_client.client import Client
from often_client.connection import API_PATH, api_url, check_proxy
from often_client.errors import NotSignedIn, Problem

if TYPE_CHECKING:
    from ssl import SSLContext

    from often_client.async_client import AsyncClient

#: Address at which `make run` starts the API, unless the port is in use.
LOCAL = "http://127.0.0.1:8000"
#: Environment variable with an API key. It takes precedence over the key that `often login` stored.
TOKEN = "OFTEN_TOKEN"


class Access:
    """The connection settings of one command line. It connects when a command first
    needs the API.
    """

    def __init__(
        self, api: str | None, name: str, *, ca_file: str | None = None, proxy: str | None = None
    ) -> None:
        """Check the options. `name` is the name of the login profile. Raises UsageError."""
        try:
            profile.path(name)
            check_proxy(proxy)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        self._given_api = api
        self._ca_file = ca_file
        self.proxy = proxy
        self.name = name

    @cached_property
    def profile(self) -> Profile | None:
        """The address and key that `often login` stored; None if there are none."""
        return profile.read(self.name)

    @cached_property
    def api(self) -> str:
        """The address of the API: that of the option, or that of the login, or that of `make run`.

        Raises UsageError if it is not a valid address.
        """
        address = self._given_api or (self.profile.api if self.profile else LOCAL)
        try:
            return api_url(address).removesuffix(API_PATH)
        except ValueError as error:
            raise click.UsageError(str(error)) from None

    @property
    def token(self) -> str | None:
        """The API key to use; None if there is none. A stored key is sent only to the API that
        created it.
        """
        kept = self.profile
        kept_key = kept.key if kept is not None and kept.api == self.api else None
        return os.environ.get(TOKEN) or kept_key

    @property
    def uses_environment(self) -> bool:
        """Whether the API key comes from the environment variable."""
        return bool(os.environ.get(TOKEN))

    @cached_property
    def verify(self) -> "SSLContext | bool":
        """The certificates to trust for HTTPS. Raises UsageError if the given file
        cannot be read.
        """
        if self._ca_file is None:
            return True
        import ssl  # noqa: PLC0415 - httpx imports it in any case, but `--help` does not need it

        try:
            return ssl.create_default_context(cafile=self._ca_file)
        except OSError as error:
            raise click.UsageError(f"The certificates in {self._ca_file} cannot be read: {error}") from None

    @cached_property
    def client(self) -> Client:
        """The client that the commands share. Raises NotSignedIn if there is no API key, and
        UsageError.
        """
        return self.open(self._needed_token())

    def open(self, token: str | None = None, *, api: str | None = None) -> Client:
        """Create a client of the API, or of the API at another address. Raises UsageError."""
        return Client(api or self.api, token, verify=self.verify, proxy=self.proxy)

    def open_async(self, *, retries: int) -> "AsyncClient":
        """Create an asyncio client of the API. Raises NotSignedIn if there is no API key, and
        UsageError.
        """
        from often_client.async_client import AsyncClient  # noqa: PLC0415 - other commands do not need asyncio

        token = self._needed_token()
        return AsyncClient(self.api, token, retries=retries, verify=self.verify, proxy=self.proxy)

    def close(self) -> None:
        if "client" in self.__dict__:
            self.client.close()

    def _needed_token(self) -> str:
        if self.token is None:
            raise NotSignedIn(Problem(401, "You are not signed in.", type="urn:often:problem:not-signed-in"))
        return self.token
