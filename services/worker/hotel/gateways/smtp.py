"""Sends mail through an SMTP server, and classifies its errors as temporary or permanent."""

import asyncio
import re
from dataclasses import dataclass
from datetime import timedelta
from email.message import EmailMessage
from email.policy import SMTP
from typing import Self

import aiosmtplib

from services.worker.hotel.gateways import measured
from shared.errors import ExpectedError, PermanentError
from shared.hotel.settings import HotelSettings

#: The format of the messages that are sent. Its lines are long enough for every Message-ID, because
#: some receivers read the line break of a folded header as part of the id.
WIRE = SMTP.clone(max_line_length=500)
#: If the mail server does not reply within this many seconds, it counts as down.
REPLY_TIMEOUT_S = 20.0
#: Codes of replies that demand or refuse a login, or demand encryption (RFC 4954, RFC 3207). They
#: can answer any command.
LOGIN_CODES = frozenset({530, 534, 535, 538})
#: Code of the reply to MAIL FROM if the message is too large (RFC 1870).
TOO_LARGE = 552
#: Text of the reply that refuses to pass on mail of a client without a login. Its codes (550, 554,
#: 5.7.1) are also those of a refused recipient. Postfix sends "Relay access denied", Sendmail
#: "Relaying denied", Exim "relay not permitted", and Exchange "Unable to relay".
RELAY_DENIED = re.compile(
    r"\brelay(ing)?( access)? (denied|not permitted|not allowed|prohibited)"
    r"|\b(unable|not permitted|not allowed) to relay\b",
    re.IGNORECASE,
)


class MailDeferred(ExpectedError):
    """Raised if the server asks to try again later, or does not answer."""


class MailRejected(PermanentError):
    """Raised if the server will never accept this mail."""


class MailMisconfigured(MailRejected):
    """Raised if the server refuses every mail from us, as after a failed login.

    The mail and its recipient may be fine, but nothing can be sent until an operator has corrected
    the settings of the mail server.
    """


@dataclass(frozen=True, slots=True)
class Delivery:
    """The server's response to a mail that it accepted for at least one recipient."""

    accepted: tuple[str, ...]
    #: Refused recipients, each with the server's reply, such as `"550 5.1.1 unknown"`.
    refused: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpGateway:
    """Client of one mail server."""

    host: str
    port: int
    user: str = ""
    password: str = ""
    #: Encryption of the connection: "none", "starttls" or "tls".
    security: str = "none"
    sender: str = "hello@often-hotels.example"
    sender_name: str = ""
    #: Time limit for sending one mail, from connecting to the last reply.
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
        """Domain of our Message-IDs, which is the part after the @."""
        return self.sender.partition("@")[2]

    async def send(self, message: EmailMessage, recipients: list[str]) -> Delivery:
        """Send one message.

        Raises MailDeferred (reply 4xx, or no answer), MailRejected (reply 5xx) or MailMisconfigured
        (the server refuses every mail from us).
        """
        with measured.request("SMTP", _outcome):
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
        """Connect to the server and send the message. Returns the recipients that were refused."""
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


def _outcome(error: Exception) -> str:
    """Return the metric label value for a mail that was not accepted."""
    return "refused" if isinstance(error, MailRejected) else "away"


def _translated(error: aiosmtplib.SMTPException | OSError) -> MailDeferred | MailRejected:
    """Translate an error of the SMTP library into MailDeferred or MailRejected."""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        text = "; ".join(f"{r.recipient}: {r.code} {r.message}" for r in error.recipients)
        # The lowest code decides: if one recipient may be accepted later (4xx), the mail is
        # retried.
        return _sorted(min(r.code for r in error.recipients), text, any(map(_refuses_us, error.recipients)))
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return _sorted(error.code, f"{error.code} {error.message}", _refuses_us(error))
    # The library raises its base class itself if the server does not offer STARTTLS or AUTH.
    if type(error) in (aiosmtplib.SMTPException, aiosmtplib.SMTPNotSupported):
        return MailMisconfigured(
            f"the mail server does not accept SMTP_SECURITY or SMTP_USER; correct the setting: {error}"
        )
    return MailDeferred(f"{type(error).__name__}: {error}")


def _sorted(code: int, text: str, refuses_us: bool) -> MailDeferred | MailRejected:
    if 400 <= code < 500:
        return MailDeferred(text)
    if refuses_us:
        return MailMisconfigured(
            "the mail server accepts no mail from us; check SMTP_USER, SMTP_PASSWORD, SMTP_SECURITY and "
            f"EMAILS_FROM_EMAIL: {text}"
        )
    return MailRejected(text)


def _refuses_us(error: aiosmtplib.SMTPResponseException) -> bool:
    """Return True if a permanent refusal is about us, and not about a recipient or a message.

    Before the first recipient is named, the server knows only our address, our login, our sender
    and the size of the message.
    """
    if isinstance(error, aiosmtplib.SMTPRecipientRefused | aiosmtplib.SMTPDataError):
        return error.code in LOGIN_CODES or RELAY_DENIED.search(error.message) is not None
    return error.code != TOO_LARGE
