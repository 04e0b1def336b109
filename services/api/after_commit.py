"""Sends messages to workers through Redis after the transaction of a request is committed.

Such a message is only a hint. If it cannot be sent, the request does not fail, and workers find the
change later in Postgres.
"""

import logging
from collections.abc import Awaitable

from shared.errors import ServerUnavailable

log = logging.getLogger(__name__)


async def given(hint: Awaitable[None], late: str, **fields: object) -> bool:
    """Send a hint and return True if Redis accepted it. If Redis is unavailable, log `late`, which
    is a text that says what happens without the hint.
    """
    try:
        await hint
    except ServerUnavailable as error:
        log.warning("a message through Redis was not sent: %s", late, exc_info=error, extra=fields)
        return False
    return True
