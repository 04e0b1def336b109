"""A simulated browser without JavaScript for tests of the web console. It keeps cookies, sends the
headers of forms, and finds the token that protects a form.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from tests.integration.api.conftest import Client, Person

TOKEN = re.compile(r'name="token" value="([0-9a-f]+)"')
#: Host name in requests. It must be this machine, because over plain HTTP the console allows
#: signing in only there.
HOST = "localhost"
FORM = {"Sec-Fetch-Site": "same-origin"}


@dataclass
class Browser:
    client: Client
    cookies: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str, **headers: str) -> Any:
        return await self._send("GET", path, headers=headers)

    async def head(self, path: str) -> Any:
        """Send a HEAD request, for addresses whose answer to GET would never end."""
        return await self._send("HEAD", path, headers={"Accept": "text/event-stream"})

    async def post(self, path: str, form: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
        return await self._send("POST", path, form, headers=FORM if headers is None else headers)

    async def _send(
        self, method: str, path: str, form: dict[str, Any] | None = None, *, headers: dict[str, str]
    ) -> Any:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        common = {"Host": HOST, "Accept": "text/html", **({"Cookie": cookie} if cookie else {})}
        answer = await self.client.request(
            method, path, data=form, headers={**common, **headers}, follow_redirects=False
        )
        self._keep(answer)
        self.client.cookies.clear()  # cookies are kept by this class, not by the client
        return answer

    async def sign_in(self, person: Person, **more: str) -> Any:
        login = {"email": person.email, "password": person.password, **more}
        return await self.post("/console/login", login)

    async def token(self, page: str = "/console/tasks", *, form: str = "/console/tasks/") -> str:
        """The token of the first form on a page whose target address begins with `form`."""
        text = (await self.get(page)).text
        at = text.index(f'action="{form}')
        found = TOKEN.search(text, at)
        assert found is not None
        return found[1]

    def _keep(self, answer: Any) -> None:
        for line in answer.headers.get_list("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value.strip('"')
            if "Max-Age=0" in line:
                del self.cookies[name]
