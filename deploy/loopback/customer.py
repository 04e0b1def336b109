"""A customer of the system: has confirmed accounts, sends mail by tasks, waits for their ends."""

import re
import secrets
from typing import Any

import httpx

from deploy.loopback import address, stand

PASSWORD = "correct horse"
#: In the text of the mail that confirms an address, on a line of its own.
TOKEN = re.compile(r"^http\S+/verify/([\w-]+)", re.MULTILINE)


class Customer:
    """An account; mail to it takes the server `slow_s` seconds."""

    def __init__(self, slow_s: int = 0) -> None:
        self._api = httpx.Client(
            base_url=f"http://{address.taken()['api'][0]}:8000/api/v1", timeout=10, trust_env=False
        )
        slow = f"+slow{slow_s}" if slow_s else ""
        self.address = f"guest-{secrets.token_hex(4)}{slow}@often-hotels.example"
        credentials = {"email": self.address, "password": PASSWORD}
        self._post("auth/register", {**credentials, "full_name": "Asha Rao"})
        self._post("auth/verify", {"token": stand.until(self._token, "the mail to confirm is there", 30)})
        token = self._post("auth/login", credentials)["access_token"]
        self._api.headers["Authorization"] = f"Bearer {token}"
        self.id: int = self._api.get("auth/me").raise_for_status().json()["id"]

    def send_mail(self) -> str:
        """Submit a welcome mail to this account; the task's id."""
        task_id: str = self._post("tasks/email", {"user_id": self.id, "email_type": "welcome"})["task_id"]
        return task_id

    def has_mail(self) -> bool:
        """Whether the welcome mail is in the catcher."""
        return "\nSubject: Welcome" in self._mails()

    def _token(self) -> str | None:
        found = TOKEN.search(self._mails())
        return found[1] if found else None

    def _mails(self) -> str:
        """All mails to this address, one after the other."""
        (catcher,) = stand.containers("mail")
        show = 'grep -rlF "$0" /mail | xargs -r cat'
        return stand.docker("exec", catcher, "sh", "-c", show, self.address)

    def status(self, task_id: str) -> str:
        status: str = self._api.get(f"tasks/{task_id}").raise_for_status().json()["status"]
        return status

    def await_status(self, task_id: str, status: str, limit_s: float) -> None:
        stand.until(lambda: self.status(task_id) == status, f"task {task_id} is {status}", limit_s)

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self._api.post(path, json=body).raise_for_status().json()
        return answer
