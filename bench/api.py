"""Runs API processes for measurements, with a signed-in user."""

import secrets

import httpx

from local.ports import pick
from tests.eventually import eventually
from tests.platform import Platform

#: Environment variables for the API process. They set limits that no request reaches and a token
#: that outlives the run. Requests are still counted against the limits.
ROOMY = {
    "OFTEN_RATE_LIMIT_USER": "100000000/minute",
    "OFTEN_RATE_LIMIT_ADDRESS": "100000000/minute",
    "OFTEN_QUOTA_TASKS": "user=999999999",
    "OFTEN_QUOTA_WAITING": "user=999999999",
    "OFTEN_ACCESS_TOKEN_LIFE": "86400",
    # The API runs without applications, because one that sends mail would add a task for each
    # account.
    "OFTEN_APPLICATIONS": "",
}

_PASSWORD = "a horse, a battery"


class Api:
    """An API process, started with `python -m module`, that is ready for requests."""

    def __init__(self, platform: Platform, module: str = "services.api") -> None:
        self._platform, self._module = platform, module
        self.port = pick("api")["api"]
        self.url = f"http://127.0.0.1:{self.port}"
        #: Process id of the API process; 0 before it has been started.
        self.pid = 0

    async def start(self) -> None:
        process = self._platform.start(
            self._module, OFTEN_API_PORT=str(self.port), SECRET_KEY=secrets.token_hex(32), **ROOMY
        )

        self.pid = process.pid

        def is_ready() -> bool:
            assert process.poll() is None, f"it ended during its start:\n{self._platform.log_of(process)}"
            try:
                return httpx.get(f"{self.url}/health/ready", trust_env=False).is_success
            except httpx.TransportError:
                return False

        await eventually(is_ready)

    async def sign_up(self) -> str:
        """Create a user over the API. Returns an access token of the user."""
        email = f"{secrets.token_hex(8)}@often.example"
        person = {"email": email, "password": _PASSWORD}
        async with httpx.AsyncClient(base_url=f"{self.url}/api/v1/auth", trust_env=False) as http:
            (await http.post("/register", json=person)).raise_for_status()
            answer = (await http.post("/login", json=person)).raise_for_status()
        return str(answer.json()["access_token"])
