"""Mail to the hotel application's users."""

from datetime import datetime, timedelta

from shared.contracts.contract import Contract, Params, Result, Retries


class SendWelcome(Params):
    #: Whom to welcome; the address comes from the account, never from the caller.
    user_id: int


class MailSent(Result):
    success: bool
    user_id: int
    #: Where the mail went.
    email: str
    template: str
    sent_at: datetime
    message: str
    #: Recipients that the mail server refused while it took others, with its reply.
    refused: dict[str, str]


SEND_WELCOME = Contract(
    name="email.send_welcome",
    queue="email",
    params=SendWelcome,
    result=MailSent,
    # A mail server that is down comes back within the hour or somebody is called.
    retries=Retries(max_attempts=6, delay=timedelta(seconds=10), cap=timedelta(minutes=30)),
)
