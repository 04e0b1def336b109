"""Tests of sending mail to a mail server whose replies never end."""

import asyncio
import contextlib
from datetime import timedelta
from email.message import EmailMessage

import pytest

from local import ports
from services.worker.hotel.gateways.smtp import MailDeferred, SmtpGateway


async def test_a_reply_that_drips_ends_at_the_deadline() -> None:
    hung_up = asyncio.Event()

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send one line of a multi-line reply again and again, without ever sending the
        last line.
        """
        with contextlib.suppress(ConnectionError), contextlib.closing(writer):
            while not writer.is_closing():
                writer.write(b"220-wait\r\n")
                await writer.drain()
                await asyncio.sleep(0.1)
        hung_up.set()

    port = ports.pick("mail")["mail"]
    gateway = SmtpGateway(host=ports.HOST, port=port, deadline=timedelta(seconds=1))
    async with await asyncio.start_server(drip, ports.HOST, port):
        with pytest.raises(MailDeferred, match="TimeoutError"):
            await asyncio.wait_for(gateway.send(EmailMessage(), ["asha@often-hotels.example"]), 8)
        await asyncio.wait_for(hung_up.wait(), 8)
