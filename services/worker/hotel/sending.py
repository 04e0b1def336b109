"""Keeps the log of what is sent to whom, so that a rerun of a task does not send again what was sent.

Between the outside service's yes and the record of it lies a moment in which the process may die. What was
sent then is sent once more, under the same number, by which most receivers know the copy.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Literal
from uuid import UUID

from services.worker.hotel.gateways.smtp import SmtpGateway
from shared.contracts.context import Sql, TaskContext
from shared.errors import PermanentError
from shared.hotel import inbox


class AddressUnverified(PermanentError):
    """The address is not confirmed, so no mail goes to it. Another task can be submitted afterwards."""

    def __init__(self, user_id: int) -> None:
        super().__init__(
            f"user {user_id} has not confirmed their address, so nothing is sent to it. The link in the mail "
            "of their registration does that; POST /api/v1/auth/me/verification sends another one"
        )


@dataclass
class Sending:
    """One message to one target."""

    #: An earlier attempt has sent it, or found that the target is gone.
    done: bool
    status: Literal["sending", "sent", "removed"] = "sending"


@asynccontextmanager
async def logged(
    database: Sql, task: UUID, channel: Literal["email", "push"], target: str, *, user: int, subject: str
) -> AsyncIterator[Sending]:
    """Send inside and set the status; what raises PermanentError is logged as failed."""
    key = (task, channel, target)
    (row,) = await database.run(inbox.BEGIN_SENDING, *key, user, subject)
    done = row["status"] in ("sent", "removed")
    sending = Sending(done, row["status"] if done else "sending")
    try:
        yield sending
    except PermanentError as error:
        await database.run(inbox.END_SENDING, "failed", str(error)[:500], False, *key)
        raise
    if not sending.done:
        await database.run(inbox.END_SENDING, sending.status, None, sending.status == "sent", *key)


async def send_once(
    context: TaskContext, address: str, user_id: int, template: str, message: EmailMessage
) -> dict[str, str]:
    """Send, unless an earlier attempt has; returns recipients that were refused, with the server's reply."""
    async with logged(
        context.database, context.id, "email", address, user=user_id, subject=template
    ) as sending:
        if sending.done:
            context.log.info("an earlier attempt has sent this mail")
            return {}
        delivery = await context.gateway(SmtpGateway).send(message, [address])
        sending.status = "sent"
        context.log.info("the mail server took the %s mail", template)
        return delivery.refused
