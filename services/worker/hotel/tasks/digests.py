"""Bodies of the tasks that send price digests.

One task finds the users who should get a digest; the other sends a digest to one user.
"""

from datetime import UTC, datetime
from typing import Any

from services.worker.hotel import mail
from services.worker.hotel.gateways.smtp import SmtpGateway
from services.worker.hotel.mail import PublicLinks
from services.worker.hotel.recipients import Recipient, recipient
from services.worker.hotel.sending import send_once
from services.worker.registry import task
from shared.contracts.context import TaskContext
from shared.hotel import mailing, pricing
from shared.hotel.contracts.email import (
    SEND_DIGEST,
    SEND_DIGESTS,
    DigestSent,
    DigestsStarted,
    SendDigest,
    SendDigests,
)
from shared.hotel.workflows.digest import digest


@task(SEND_DIGESTS)
async def send_digests(context: TaskContext, params: SendDigests) -> DigestsStarted:
    """Find the users whose watched prices have fallen, and submit a workflow that sends their
    digests.

    The workflow is stored in the transaction that records this task's success.
    """
    rows = await context.database.run(pricing.DIGEST_READERS, mailing.PRICE_ALERTS)
    readers = [row["user"] for row in rows]
    async with context.transaction() as transaction:
        workflow_id = await context.start(digest(readers)) if readers else None
        result = DigestsStarted(success=True, readers=len(readers), workflow_id=workflow_id)
        await context.complete_in(transaction, result)
    return result


@task(SEND_DIGEST)
async def send_digest(context: TaskContext, params: SendDigest) -> DigestSent:
    """Send a user the watched prices that have fallen.

    Nothing is sent if the user has unsubscribed in the meantime.
    """
    user = await recipient(params.user_id)
    (preference,) = await context.database.run(mailing.PREFERENCE, user.id, mailing.PRICE_ALERTS)
    drops = await context.database.run(pricing.DROPS, user.id)
    sent = DigestSent(
        success=True,
        user_id=user.id,
        template="digest",
        message="Not sent: the user has unsubscribed from price alerts",
        hotels=len(drops),
        email=None,
        sent_at=None,
    )
    if preference["opted_out"]:
        return sent
    if not drops:
        sent.message = "Not sent: no price that the user watches has fallen"
        return sent
    await _send(context, user, drops, context.gateway(PublicLinks).unsubscribe(preference["token"]))
    sent.email, sent.sent_at, sent.message = user.email, datetime.now(UTC), "Digest sent"
    return sent


async def _send(
    context: TaskContext, user: Recipient, drops: list[dict[str, Any]], unsubscribe_url: str
) -> None:
    smtp = context.gateway(SmtpGateway)
    message = mail.build(
        "digest",
        mail.digest_values(drops, user.full_name or user.email, unsubscribe_url),
        task_id=context.id,
        sender=(smtp.sender_name, smtp.sender),
        to=(user.full_name or "", user.email),
        domain=smtp.domain,
    )
    mail.let_unsubscribe(message, unsubscribe_url)
    await send_once(context, user.email, user.id, "digest", message)
