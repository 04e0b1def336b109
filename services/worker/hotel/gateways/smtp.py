"""Hands mail to an SMTP server and sorts its answers into passing and final."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from email.message import EmailMessage
from email.policy import SMTP
from typing import Self

import aiosmtplib

from shared.errors import ExpectedError, PermanentError
from shared.hotel.settings import HotelSettings

#: Message-IDs must not be folded: some receivers read the fold as part of the id.
WIRE = SMTP.clone(max_line_length=500)
#: A mail server that takes longer for one reply is as good as away.
REPLY_TIMEOUT_S = 20.0


class MailDeferred(ExpectedError):
    """The server asks to come back later, or did not answer."""


class MailRejected(PermanentError):
    """The server will not take this mail, now or later."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the server said to a mail that it took for at least one recipient."""

    accepted: tuple[str, ...]
    #: Recipient and reply, `"550 5.1.1 unknown"`.
    refused: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpGateway:
    """A mail server."""

    host: str
    port: int
    user: str = ""
    password: str = ""
    #: none, starttls or tls.
    security: str = "none"
    sender: str = "hello@often-hotels.example"
    sender_name: str = ""
    #: Time limit for the whole conversation about one mail.
    deadline: timedelta = timedelta(seconds=60)

    @classmethod
    def from_settings(cls, settings: HotelSettings) -> Self:
        return cls(
            host=settings.smtp_host,
            port=settings.smtp_port,
            user=settings.smtp_user,
            password=settings.smtp_password,
            security=settings.smtp_security,
            sender=settings.mail_from,
            sender_name=settings.mail_from_name,
            deadline=settings.smtp_deadline,
        )

    @property
    def domain(self) -> str:
        """The part of Message-IDs behind the @."""
        return self.sender.partition("@")[2]

    async def send(self, message: EmailMessage, recipients: list[str]) -> Delivery:
        """Send one message.

        Raises MailDeferred (4xx, no answer) or MailRejected (5xx, wrong configuration).
        """
        try:
            async with asyncio.timeout(self.deadline.total_seconds()):
                refused = await self._hand_over(message, recipients)
        except (aiosmtplib.SMTPException, OSError) as error:
            raise _translated(error) from error
        answers = {name: f"{reply.code} {reply.message}" for name, reply in refused.items()}
        return Delivery(tuple(r for r in recipients if r not in answers), answers)

    async def _hand_over(
        self, message: EmailMessage, recipients: list[str]
    ) -> dict[str, aiosmtplib.SMTPResponse]:
        """The recipients that were refused."""
        refused, _ = await aiosmtplib.send(
            message.as_bytes(policy=WIRE),
            sender=self.sender,
            recipients=recipients,
            hostname=self.host,
            port=self.port,
            username=self.user or None,
            password=self.password or None,
            use_tls=self.security == "tls",
            start_tls=self.security == "starttls",
            timeout=REPLY_TIMEOUT_S,
        )
        return refused


def _translated(error: aiosmtplib.SMTPException | OSError) -> MailDeferred | MailRejected:
    """The domain's error for what the client raised."""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        text = "; ".join(f"{r.recipient}: {r.code} {r.message}" for r in error.recipients)
        # One recipient that may be accepted later is reason enough to try again.
        return _sorted(min(r.code for r in error.recipients), text)
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return _sorted(error.code, f"{error.code} {error.message}")
    # The bare base class is raised for STARTTLS or AUTH that the server does not offer.
    if type(error) in (aiosmtplib.SMTPException, aiosmtplib.SMTPNotSupported):
        return MailRejected(f"the mail server and SMTP_SECURITY or SMTP_USER don't fit: {error}")
    return MailDeferred(f"{type(error).__name__}: {error}")


def _sorted(code: int, text: str) -> MailDeferred | MailRejected:
    return MailDeferred(text) if 400 <= code < 500 else MailRejected(text)
