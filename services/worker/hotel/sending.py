"""Records every message that is sent to users, so that a task that runs again does not send it
twice.

A process may die after the outside service has accepted a message and before this is recorded. The
message is then sent again under the same id, by which most receivers recognize the copy.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Literal
from uuid import UUID

from services.worker.hotel.gateways.smtp import SmtpGateway
from shared.contracts.context import Sql, TaskContext
from shared.errors import OutsideRefusal, PermanentError
from shared.hotel import inbox


class AddressUnverified(OutsideRefusal):
    """Raised if a user has not confirmed the address, so no mail may be sent to it.

    Once it is confirmed, a new task can be submitted.
    """

    def __init__(self, user_id: int) -> None:
        super().__init__(
            f"user {user_id} has not confirmed their address, so nothing is sent to it. The link in the mail "
            "of their registration does that; POST /api/v1/auth/me/verification sends another one"
        )


@dataclass
class Sending:
    """The state of sending one message to one address or browser."""

    #: True if nothing has to be sent, because an earlier attempt has sent the message or has found
    #: that its target no longer exists.
    done: bool
    status: Literal["sending", "sent", "removed"] = "sending"


@asynccontextmanager
async def logged(
    database: Sql, task: UUID, channel: Literal["email", "push"], target: str, *, user: int, subject: str
) -> AsyncIterator[Sending]:
    """Record that a message is being sent and, after the context, how that ended.

    The code inside the context sends the message and sets `status`. A PermanentError is recorded as
    a failure.
    """
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
    """Send a mail, unless an earlier attempt of this task has sent it.

    Returns the refused recipients, each with the server's reply.
    """
    async with logged(
        context.database, context.id, "email", address, user=user_id, subject=template
    ) as sending:
        if sending.done:
            context.log.info("mail not sent again: an earlier attempt has sent it")
            return {}
        delivery = await context.gateway(SmtpGateway).send(message, [address])
        sending.status = "sent"
        context.log.info("the mail server accepted the %s mail", template)
        return delivery.refused
