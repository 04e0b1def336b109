"""Tests of the local system's mail catcher, over a real socket."""

import asyncio
import email
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import pytest

from local import mail

ASKED = "guest@often-hotels.example"


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    async with await mail.serve(0, tmp_path) as server:
        yield server.sockets[0].getsockname()[1]


def message(to: str) -> EmailMessage:
    written = EmailMessage()
    written["From"] = "hello@often-hotels.example"
    written["To"] = to
    written["Subject"] = "Willkommen in Köln"
    written.set_content("Grüße")
    return written


async def test_a_message_is_kept_whole_as_one_file(port: int, tmp_path: Path) -> None:
    await aiosmtplib.send(message(ASKED), hostname=mail.HOST, port=port)

    [file] = tmp_path.iterdir()
    kept = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
    assert file.suffix == ".eml"
    assert kept["X-RcptTo"] == ASKED
    assert kept["Subject"] == "Willkommen in Köln"
    assert isinstance(kept, EmailMessage)
    assert kept.get_content().strip() == "Grüße"


@pytest.mark.parametrize("code", [450, 451, 550, 553])
async def test_a_recipient_that_names_a_code_is_refused_with_it(port: int, tmp_path: Path, code: int) -> None:
    with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as refusal:
        await aiosmtplib.send(
            message(f"guest+{code}@often-hotels.example"), hostname=mail.HOST, port=port, start_tls=False
        )

    assert [refused.code for refused in refusal.value.recipients] == [code]
    assert not list(tmp_path.iterdir())


async def test_a_mailbox_that_breaks_later_gets_its_first_message(port: int, tmp_path: Path) -> None:
    broken = message("guest+then550@often-hotels.example")
    await aiosmtplib.send(broken, hostname=mail.HOST, port=port, start_tls=False)
    with pytest.raises(aiosmtplib.SMTPRecipientsRefused):
        await aiosmtplib.send(broken, hostname=mail.HOST, port=port, start_tls=False)

    assert len(list(tmp_path.iterdir())) == 1


async def test_one_refused_recipient_does_not_keep_the_others_from_their_mail(
    port: int, tmp_path: Path
) -> None:
    recipients = [ASKED, "guest+550@often-hotels.example"]
    refused, _ = await aiosmtplib.send(
        message(ASKED), recipients=recipients, hostname=mail.HOST, port=port, start_tls=False
    )

    [file] = tmp_path.iterdir()
    assert list(refused) == recipients[1:]
    assert b"X-RcptTo: guest@often-hotels.example\r\n" in file.read_bytes()


async def test_a_slow_recipient_is_answered_late_and_keeps_nobody_else_waiting(
    port: int, tmp_path: Path
) -> None:
    slow = asyncio.create_task(
        aiosmtplib.send(message("guest+slow2@often-hotels.example"), hostname=mail.HOST, port=port)
    )
    await aiosmtplib.send(message(ASKED), hostname=mail.HOST, port=port)
    assert not slow.done()
    await slow

    assert len(list(tmp_path.iterdir())) == 2


async def test_421_is_hung_up_on_after_its_message(port: int, tmp_path: Path) -> None:
    client = aiosmtplib.SMTP(hostname=mail.HOST, port=port, start_tls=False)
    await client.connect()

    with pytest.raises(aiosmtplib.SMTPDataError) as refusal:
        await client.send_message(message("guest+421@often-hotels.example"))
    with pytest.raises(aiosmtplib.SMTPServerDisconnected):
        await client.noop()

    assert refusal.value.code == mail.HANG_UP
    assert not list(tmp_path.iterdir())
