"""The mail catcher: an SMTP server that stores each message as a file and delivers none.

It is started with `python -m local.mail --port 2525 --folder var/mail`.

A recipient whose local part ends in `+<code>` is refused with that SMTP code
(`guest+550@often-hotels.example`). `+421` is accepted, but the connection closes after the message.
`+then550` is refused from its second message on, like a mailbox that worked once and then broke. A
message to `+slow<seconds>` gets a delayed answer, as from a busy server.
"""

import argparse
import asyncio
import re
import secrets
from datetime import UTC, datetime
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

HOST = "127.0.0.1"
CODE = re.compile(r"\+(then)?([45]\d\d)@")
SLOW = re.compile(r"\+slow(\d{1,2})@")
HANG_UP = 421


class Catcher:
    """The handler that the package aiosmtpd calls for each step of receiving a mail."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        #: Addresses of the recipients that have already received a message.
        self._reached: set[str] = set()

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        code = self._code(address)
        if code is not None and code != HANG_UP:
            return f"{code} this recipient asked to be refused with {code}"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        await asyncio.sleep(max(map(_slowness, envelope.rcpt_tos), default=0))
        if any(self._code(address) == HANG_UP for address in envelope.rcpt_tos):
            # For the type checker: a connected server always has a transport.
            assert server.transport is not None
            asyncio.get_running_loop().call_soon(server.transport.close)
            return f"{HANG_UP} this recipient asked to be hung up on"
        self._reached.update(envelope.rcpt_tos)
        return f"250 kept as {self._keep(envelope)}"

    def _code(self, address: str) -> int | None:
        """Returns the SMTP code with which this recipient is refused now; None if the recipient is
        accepted.
        """
        found = CODE.search(address)
        is_refused = found is not None and (not found[1] or address in self._reached)
        return int(found[2]) if found and is_refused else None

    def _keep(self, envelope: Envelope) -> str:
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{secrets.token_hex(4)}.eml"
        unfinished = self.folder / f".{name}"
        head = f"X-MailFrom: {envelope.mail_from}\r\nX-RcptTo: {', '.join(envelope.rcpt_tos)}\r\n"
        # For the type checker: the content is bytes unless aiosmtpd's `decode_data` is set.
        assert isinstance(envelope.content, bytes)
        unfinished.write_bytes(head.encode() + envelope.content)
        # Renamed when complete, so that readers of the folder never see a partial message.
        unfinished.rename(self.folder / name)
        return name


async def serve(port: int, folder: Path) -> asyncio.Server:
    """Start the mail catcher on the loopback. It stores messages in `folder`, which must exist.
    Port 0 picks a free port.
    """
    loop = asyncio.get_running_loop()
    catcher = Catcher(folder)
    return await loop.create_server(
        lambda: SMTP(catcher, enable_SMTPUTF8=True, hostname="localhost", loop=loop), HOST, port
    )


def _slowness(address: str) -> int:
    """Seconds by which the answer to this recipient's message is delayed."""
    found = SLOW.search(address)
    return int(found.group(1)) if found else 0


async def _main() -> None:
    arguments = argparse.ArgumentParser(description="Store mail as files and deliver none.")
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--folder", type=Path, required=True)
    options = arguments.parse_args()
    async with await serve(options.port, options.folder) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
