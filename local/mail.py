"""The mail catcher: an SMTP server that keeps each message as a file and sends nothing on.

`python -m local.mail --port 2525 --folder var/mail`. A recipient whose local part ends in `+<code>` is
refused with that code (`guest+550@often-hotels.example`); `+421` is taken, and hung up on after the message.
`+then550` is refused from its second message on: a mailbox that has answered once and broke afterwards.
`+slow<seconds>` is answered that much later, as a busy server would.
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
    """The hooks that aiosmtpd calls."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        #: Recipients that got a message.
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
            assert server.transport is not None  # it is None only before the connection
            asyncio.get_running_loop().call_soon(server.transport.close)
            return f"{HANG_UP} this recipient asked to be hung up on"
        self._reached.update(envelope.rcpt_tos)
        return f"250 kept as {self._keep(envelope)}"

    def _code(self, address: str) -> int | None:
        """The code with which the recipient is refused now."""
        found = CODE.search(address)
        is_refused = found is not None and (not found[1] or address in self._reached)
        return int(found[2]) if found and is_refused else None

    def _keep(self, envelope: Envelope) -> str:
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{secrets.token_hex(4)}.eml"
        unfinished = self.folder / f".{name}"
        head = f"X-MailFrom: {envelope.mail_from}\r\nX-RcptTo: {', '.join(envelope.rcpt_tos)}\r\n"
        assert isinstance(envelope.content, bytes)  # `decode_data` is off
        unfinished.write_bytes(head.encode() + envelope.content)
        unfinished.rename(self.folder / name)  # whoever watches the folder sees whole messages only
        return name


async def serve(port: int, folder: Path) -> asyncio.Server:
    """Listen on the loopback and keep messages in an existing folder; port 0 takes a free port."""
    loop = asyncio.get_running_loop()
    catcher = Catcher(folder)
    return await loop.create_server(
        lambda: SMTP(catcher, enable_SMTPUTF8=True, hostname="localhost", loop=loop), HOST, port
    )


def _slowness(address: str) -> int:
    """Seconds."""
    found = SLOW.search(address)
    return int(found.group(1)) if found else 0


async def _main() -> None:
    arguments = argparse.ArgumentParser(description="Keep mail as files; send nothing on.")
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--folder", type=Path, required=True)
    options = arguments.parse_args()
    async with await serve(options.port, options.folder) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
