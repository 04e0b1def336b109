"""Tests of sending mail over real sockets, to the local mail catcher and to servers that
misbehave.
"""

import asyncio
import email
import email.policy
import json
import re
from collections.abc import AsyncIterator, Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from local import mail as catcher
from services.worker.hotel import mail
from services.worker.hotel.gateways.smtp import (
    Delivery,
    MailDeferred,
    MailMisconfigured,
    MailRejected,
    SmtpGateway,
)
from services.worker.hotel.tasks.email import send_welcome
from shared.errors import PermanentError
from shared.hotel import mailing
from shared.hotel.contracts.email import (
    SEND_PRICE_ALERT,
    SEND_WELCOME,
    PriceAlert,
    SendPriceAlert,
    SendWelcome,
)
from shared.identity.tables import User
from shared.testing import run_inline
from tests.platform import Platform

HOST = "127.0.0.1"
#: Makes a succeeded task look as if its worker had died right before recording the success, and the
#: rescuer had taken it back. Value: the task's id.
FORGET_THE_END = """
    UPDATE task SET status = 'pending', send_at = now(), claim = claim + 1, completed_at = NULL, result = NULL
    WHERE id = {}
"""


@pytest.fixture
async def smtp(tmp_path: Path) -> AsyncIterator[SmtpGateway]:
    folder = tmp_path / "mail"
    folder.mkdir()
    async with await catcher.serve(0, folder) as server:
        port = server.sockets[0].getsockname()[1]
        yield SmtpGateway(
            host=HOST, port=port, sender="hello@often-hotels.example", sender_name="Often Hotels"
        )


def caught(tmp_path: Path) -> list[EmailMessage]:
    files = sorted((tmp_path / "mail").glob("*.eml"))
    messages = [email.message_from_bytes(f.read_bytes(), policy=email.policy.default) for f in files]
    assert all(isinstance(message, EmailMessage) for message in messages)
    return messages


async def register(platform: Platform, address: str, name: str | None = None) -> int:
    (row,) = await platform.rows(
        "INSERT INTO account (email, password_hash, full_name, verified_at) VALUES ({}, '-', {}, now())"
        " RETURNING id",
        address,
        name,
    )
    return int(row["id"])


def message(*, to: str = "guest@often-hotels.example") -> EmailMessage:
    values = {"user_name": "Asha <Rao>", "welcome_bonus": 50}
    return mail.build(
        "welcome",
        values,
        task_id=uuid4(),
        sender=("Often Hotels", "hello@often-hotels.example"),
        to=("Asha\r\nBcc: everybody@example.com", to),
        domain="often-hotels.example",
    )


ALERT = PriceAlert(hotel_name="Sea View", currency="INR", old_price=9000, new_price=7500.5, destination="Goa")


async def test_a_user_can_unsubscribe_from_price_alerts_and_gets_no_more(
    platform: Platform, smtp: SmtpGateway, tmp_path: Path
) -> None:
    public = "https://hotels.example"
    await platform.start_worker(SMTP_HOST=HOST, SMTP_PORT=str(smtp.port), OFTEN_PUBLIC_URL=public)
    user_id = await register(platform, "asha@often-hotels.example", "Asha Rao")
    alert = SendPriceAlert(user_id=user_id, alert=ALERT)

    (task_id,) = await platform.submit(SEND_PRICE_ALERT, alert)
    await platform.until(task_id, "success")
    (sent,) = caught(tmp_path)
    assert sent["Subject"] == "Price Alert: Hotel Deal Found!"
    assert sent["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    link = sent["List-Unsubscribe"].strip("<>")
    assert link.startswith(f"{public}/unsubscribe/")
    text, html = [part.get_content() for part in sent.iter_parts()]
    for said in ("Sea View", "Goa", "9,000.00", "7,500.50 INR", "you save 17", link):
        assert said in text
        assert said in html

    await platform.rows(mailing.UNSUBSCRIBE, UUID(link.rpartition("/")[2]))
    (task_id,) = await platform.submit(SEND_PRICE_ALERT, alert)
    row = await platform.until(task_id, "success")
    assert json.loads(row["result"])["email"] is None
    assert len(caught(tmp_path)) == 1


async def test_a_welcome_mail_has_both_parts_and_an_id_derived_from_its_task(
    platform: Platform, smtp: SmtpGateway, tmp_path: Path
) -> None:
    process = await platform.start_worker(SMTP_HOST=HOST, SMTP_PORT=str(smtp.port))
    user_id = await register(platform, "asha@often-hotels.example", "Asha Rao")
    (task_id,) = await platform.submit(SEND_WELCOME, SendWelcome(user_id=user_id))

    row = await platform.until(task_id, "success", "failure")

    assert row["status"] == "success", platform.log_of(process)
    (sent,) = caught(tmp_path)
    assert sent["Subject"] == "Welcome to Often Hotels!"
    assert sent["To"] == "Asha Rao <asha@often-hotels.example>"
    assert sent["Message-ID"] == f"<{task_id}.welcome@often-hotels.example>"
    assert sent["Auto-Submitted"] == "auto-generated"
    text, html = sent.get_body(("plain",)), sent.get_body(("html",))
    assert text is not None
    assert html is not None
    assert "Hello Asha Rao," in text.get_content()
    assert "<strong>50 bonus points</strong>" in html.get_content()


async def test_a_mail_is_not_sent_again_when_its_worker_died_before_recording_success(
    platform: Platform, smtp: SmtpGateway, tmp_path: Path
) -> None:
    await platform.start_worker(SMTP_HOST=HOST, SMTP_PORT=str(smtp.port))
    await platform.start_scheduler()
    user_id = await register(platform, "asha@often-hotels.example")
    (task_id,) = await platform.submit(SEND_WELCOME, SendWelcome(user_id=user_id))
    await platform.until(task_id, "success")
    await platform.rows(FORGET_THE_END, task_id)
    row = await platform.until(task_id, "success")
    assert row["attempt"] == 2
    assert len(caught(tmp_path)) == 1


async def test_the_result_contains_the_address_of_the_mail(platform: Platform, smtp: SmtpGateway) -> None:
    user_id = await register(platform, "li@often-hotels.example")
    run = await run_inline(
        send_welcome, SendWelcome(user_id=user_id), gateways={SmtpGateway: smtp}, database=platform.database
    )
    assert run.result is not None
    assert (run.result.success, run.result.email) == (True, "li@often-hotels.example")
    assert run.result.refused == {}
    assert [step.current for step in run.progress] == [30]


async def test_a_mail_to_a_missing_user_is_not_retried(platform: Platform, smtp: SmtpGateway) -> None:
    assert not await User.exists().where(User.id == 404)
    with pytest.raises(PermanentError, match="user 404 does not exist"):
        await run_inline(
            send_welcome, SendWelcome(user_id=404), gateways={SmtpGateway: smtp}, database=platform.database
        )


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("guest+451@often-hotels.example", MailDeferred),
        ("guest+550@often-hotels.example", MailRejected),
        ("guest+421@often-hotels.example", MailDeferred),
    ],
)
async def test_a_refusal_is_temporary_or_permanent_by_its_code(
    smtp: SmtpGateway, address: str, error: type[Exception]
) -> None:
    with pytest.raises(error, match=re.escape(address.partition("+")[2][:3])):
        await smtp.send(message(to=address), [address])


async def test_a_partial_refusal_is_reported_and_the_others_get_their_mail(
    smtp: SmtpGateway, tmp_path: Path
) -> None:
    good, bad = "a@often-hotels.example", "b+550@often-hotels.example"
    delivery = await smtp.send(message(), [good, bad])
    assert isinstance(delivery, Delivery)
    assert delivery.accepted == (good,)
    assert delivery.refused[bad].startswith("550 ")
    (sent,) = caught(tmp_path)
    assert sent["X-RcptTo"] == good


async def test_user_text_can_neither_add_headers_nor_markup(smtp: SmtpGateway, tmp_path: Path) -> None:
    await smtp.send(message(), ["guest@often-hotels.example"])
    (sent,) = caught(tmp_path)
    assert sent["Bcc"] is None
    html = sent.get_body(("html",))
    assert html is not None
    assert "Asha &lt;Rao&gt;" in html.get_content()


def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


def refuse_login(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"554 5.7.1 not you\r\n")
    writer.close()


@pytest.mark.parametrize(("server", "error"), [(hang_up, MailDeferred), (refuse_login, MailRejected)])
async def test_a_server_that_closes_with_a_code_is_classified_by_it(
    server: Callable[[asyncio.StreamReader, asyncio.StreamWriter], None], error: type[Exception]
) -> None:
    async with await asyncio.start_server(server, HOST, 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        with pytest.raises(error):
            await SmtpGateway(host=HOST, port=port).send(message(), ["guest@often-hotels.example"])


async def test_a_mail_is_retried_later_when_its_server_is_down() -> None:
    with pytest.raises(MailDeferred):
        await SmtpGateway(host=HOST, port=1).send(message(), ["guest@often-hotels.example"])


async def test_encryption_that_the_server_does_not_offer_is_a_configuration_error(smtp: SmtpGateway) -> None:
    strict = SmtpGateway(host=HOST, port=smtp.port, security="starttls")
    with pytest.raises(MailMisconfigured, match="SMTP_SECURITY"):
        await strict.send(message(), ["guest@often-hotels.example"])


class Replies:
    """An SMTP handler that gives each recipient, each sender and each message the same reply."""

    def __init__(self, *, sender: str = "250 OK", recipient: str = "250 OK", data: str = "250 OK") -> None:
        self._sender, self._recipient, self._data = sender, recipient, data

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        return self._sender

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.rcpt_tos.append(address)
        return self._recipient

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        return self._data


async def refusal(handler: Replies, user: str = "", **server: Any) -> MailRejected:
    """Send a mail to a server that refuses it permanently. Returns the error."""
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(
        lambda: SMTP(handler, hostname="localhost", loop=loop, **server), HOST, 0
    )
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        gateway = SmtpGateway(host=HOST, port=port, user=user, password="wrong" if user else "")
        with pytest.raises(MailRejected) as caught:
            await gateway.send(message(), ["guest@often-hotels.example"])
    return caught.value


def deny(*_: Any) -> AuthResult:
    return AuthResult(success=False, handled=False)


async def test_a_refused_login_is_a_configuration_error() -> None:
    error = await refusal(Replies(), "hotels", authenticator=deny, auth_require_tls=False)
    assert isinstance(error, MailMisconfigured)
    assert "check SMTP_USER" in str(error)
    assert "535" in str(error)
    # Without encryption, this server offers no login at all.
    assert isinstance(await refusal(Replies(), "hotels"), MailMisconfigured)


@pytest.mark.parametrize(
    ("handler", "ours"),
    [
        (Replies(recipient="554 5.7.1 <guest@often-hotels.example>: Relay access denied"), True),
        (Replies(recipient="550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain"), True),
        (Replies(recipient="530 5.7.0 Must issue a STARTTLS command first"), True),
        (Replies(sender="530 5.7.0 Authentication required"), True),
        (Replies(sender="553 5.7.1 Sender address rejected: not owned by user"), True),
        (Replies(sender="552 5.3.4 Message size exceeds fixed limit"), False),
        (Replies(recipient="550 5.7.1 <relay@often-hotels.example>: Recipient refused"), False),
        (Replies(data="554 5.7.1 The message looks like spam"), False),
    ],
)
async def test_only_refusals_of_all_our_mail_are_configuration_errors(handler: Replies, ours: bool) -> None:
    assert isinstance(await refusal(handler), MailMisconfigured) == ours
