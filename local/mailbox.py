"""Acts like a person who reads the mail catcher's messages: finds the link that confirms an
address, and follows it.
"""

import asyncio
import email
import email.policy
import re
import time
from email.message import EmailMessage
from pathlib import Path

import httpx

from local.errors import LaunchError

LINK = re.compile(r"https?://\S+/verify/[\w-]+")
LIMIT_S = 60.0
POLL_S = 0.2
REQUEST_TIMEOUT_S = 10.0


def link(folder: Path, address: str) -> str | None:
    """The newest link in the mails to this address that confirms the address; None if no mail
    contains one.
    """
    for file in sorted(folder.glob("*.eml"), reverse=True):
        content = file.read_bytes()
        if f"X-RcptTo: {address}\r\n".encode() in content and (found := LINK.search(_text(content))):
            return found[0]
    return None


async def confirm(folder: Path, address: str) -> None:
    """Wait for the confirmation mail, open its link and press the button on that page.

    Raises LaunchError if no mail arrives.
    """
    deadline = time.monotonic() + LIMIT_S
    while (found := link(folder, address)) is None:
        if time.monotonic() > deadline:
            raise LaunchError(f"No mail to {address} is in {folder} after {LIMIT_S:.0f} s; see var/log.")
        await asyncio.sleep(POLL_S)
    async with httpx.AsyncClient(timeout=REQUEST_TIMEOUT_S, trust_env=False) as browser:
        (await browser.get(found)).raise_for_status()
        (await browser.post(found)).raise_for_status()


def _text(content: bytes) -> str:
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    body = message.get_body(("plain",))
    return "" if body is None else str(body.get_content())
