"""Acts as a customer for the tests: registers an account, confirms it, submits tasks that send
mail, and awaits their ends.
"""

import re
import secrets
from uuid import UUID

from deploy.loopback import address, stand
from often_client import Client

PASSWORD = "correct horse"
#: Matches the link in a confirmation mail, which is on a line of its own.
TOKEN = re.compile(r"^http\S+/verify/([\w-]+)", re.MULTILINE)


class Customer:
    """A customer with a new, confirmed account.

    The mail server needs `slow_s` seconds for each mail to this customer.
    """

    def __init__(self, slow_s: int = 0) -> None:
        self._api = Client(f"http://{address.taken()['api'][0]}:8000")
        slow = f"+slow{slow_s}" if slow_s else ""
        self.address = f"guest-{secrets.token_hex(4)}{slow}@often-hotels.example"
        self.id = self._api.register(self.address, PASSWORD, "Asha Rao").id
        token = stand.until(self._token, "the confirmation mail has arrived", 30)
        self._api.post("auth/verify", {"token": token})
        self._api.sign_in(self.address, PASSWORD)

    def send_mail(self) -> UUID:
        """Submit a task that sends a welcome mail to this customer. Returns the task's id."""
        return UUID(self._api.post("tasks/email", {"user_id": self.id, "email_type": "welcome"})["task_id"])

    def has_mail(self) -> bool:
        """Whether the mail catcher has received the customer's welcome mail."""
        return "\nSubject: Welcome" in self._mails()

    def _token(self) -> str | None:
        found = TOKEN.search(self._mails())
        return found[1] if found else None

    def _mails(self) -> str:
        """The text of all mails to this customer, one after the other."""
        (catcher,) = stand.containers("mail")
        show = 'grep -rlF "$0" /mail | xargs -r cat'
        return stand.docker("exec", catcher, "sh", "-c", show, self.address)

    def status(self, task_id: UUID) -> str:
        return self._api.task(task_id).status

    def await_status(self, task_id: UUID, status: str, limit_s: float) -> None:
        stand.until(lambda: self.status(task_id) == status, f"task {task_id} is {status}", limit_s)
