"""Bodies of the tasks that send Web Push messages to users."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from services.worker.hotel.gateways.provider import ProviderAway, ProviderBusy, ProviderRefused
from services.worker.hotel.gateways.webpush import Subscription, SubscriptionGone, WebPushGateway
from services.worker.hotel.sending import logged
from services.worker.registry import task
from shared.contracts.context import TaskContext
from shared.errors import PermanentError
from shared.hotel import inbox
from shared.hotel.contracts.notifications import (
    PRUNE_LOG,
    SEND_BULK,
    SEND_PUSH,
    BulkSubmitted,
    LogPruned,
    PruneLog,
    PushSent,
    SendBulk,
    SendPush,
    payload,
)

#: Number of child tasks that are submitted without a pause, which takes a few milliseconds. After
#: that, other task bodies may use the event loop.
CHILDREN_AT_A_STRETCH = 100
#: Maximum number of old records that one statement deletes.
PRUNED_AT_ONCE = 1_000


@dataclass
class _Trouble:
    """Collects the errors of the browsers that did not get the message, temporary and permanent
    ones.
    """

    passing: list[ProviderAway | ProviderBusy] = field(default_factory=list)
    final: list[ProviderRefused] = field(default_factory=list)

    def raise_worst(self, browsers: int) -> None:
        """Raise the error that decides how the task continues, if there is any.

        A temporary error comes first, so that the task is retried. If there are only permanent
        errors, one is raised although other browsers got the message, so that the failure is
        visible.
        """
        if self.passing:
            now = datetime.now(UTC)
            raise max(self.passing, key=lambda e: e.wait_s(now) if isinstance(e, ProviderBusy) else 0.0)
        if self.final:
            raise ProviderRefused(f"{len(self.final)} of {browsers} browsers not reached: {self.final[0]}")


@task(SEND_PUSH)
async def send_push(context: TaskContext, params: SendPush) -> PushSent:
    """Send a message to all browsers of a user, except those that an earlier attempt has
    reached.
    """
    _check_configured(context)
    async with context.gateway(WebPushGateway).place_of_user(params.user_id):
        await _send_to_all(context, params)
    return _result(params, await context.database.run(inbox.SENDINGS, context.id, "push"))


async def _send_to_all(context: TaskContext, params: SendPush) -> None:
    rows = await context.database.run(inbox.SUBSCRIPTIONS, params.user_id)
    browsers = [Subscription(**row) for row in rows]
    trouble = _Trouble()
    for number, browser in enumerate(browsers, 1):
        try:
            await _send_once(context, params, browser)
        except (ProviderAway, ProviderBusy) as error:
            trouble.passing.append(error)
        except ProviderRefused as error:
            trouble.final.append(error)
        context.progress(number, len(browsers), f"{number} of {len(browsers)} browsers")
    trouble.raise_worst(len(browsers))


@task(SEND_BULK)
async def send_bulk(context: TaskContext, params: SendBulk) -> BulkSubmitted:
    """Submit one push task for each user who has a subscribed browser.

    Either all of these tasks are stored, or none.
    """
    _check_configured(context)
    users = list(dict.fromkeys(params.user_ids))
    reachable = {row["user"] for row in await context.database.run(inbox.REACHABLE, users)}
    for number, user in enumerate(sorted(reachable), 1):
        message = SendPush(
            user_id=user,
            title=params.title,
            message=params.message,
            data=params.data,
            urgency=params.urgency,
            ttl_s=params.ttl_s,
        )
        context.submit(SEND_PUSH, message)
        if number % CHILDREN_AT_A_STRETCH == 0:
            context.progress(number, len(reachable), f"{number} of {len(reachable)} users")
            await asyncio.sleep(0)
    return BulkSubmitted(
        success=True,
        submitted=len(reachable),
        unreachable=[user for user in users if user not in reachable],
    )


@task(PRUNE_LOG)
async def prune_log(context: TaskContext, params: PruneLog) -> LogPruned:
    """Delete the records of sent messages that are older than the cutoff."""
    cutoff = datetime.now(UTC) - timedelta(days=params.days_old)
    deleted, gone = 0, PRUNED_AT_ONCE
    while gone == PRUNED_AT_ONCE and not context.cancelled:
        gone = len(await context.database.run(inbox.PRUNE_LOG, cutoff, PRUNED_AT_ONCE))
        deleted += gone
        context.progress(50, message=f"{deleted} rows deleted")
    return LogPruned(success=not context.cancelled, rows_deleted=deleted, cutoff_date=cutoff)


def _check_configured(context: TaskContext) -> None:
    if not context.gateway(WebPushGateway).configured:
        raise PermanentError("VAPID_PRIVATE_KEY is not set, so nothing is pushed")


async def _send_once(context: TaskContext, params: SendPush, browser: Subscription) -> None:
    """Send the message to one browser, unless an earlier attempt has sent it.

    If it is sent twice nevertheless, the browser recognizes the copy by its tag, and the push
    service by its topic.
    """
    target = str(browser.id)
    async with logged(
        context.database, context.id, "push", target, user=params.user_id, subject=params.title
    ) as sending:
        if not sending.done:
            try:
                await context.gateway(WebPushGateway).send(
                    browser,
                    payload(params.title, params.message, params.data, str(context.id)),
                    ttl_s=params.ttl_s,
                    urgency=params.urgency,
                    topic=context.id.hex,
                )
            except SubscriptionGone as error:
                fields = {"subscription_id": target}
                context.log.info("the browser's subscription is removed: %s", error, extra=fields)
                sending.status = "removed"
            else:
                sending.status = "sent"
    # The subscription is updated even if an earlier attempt sent the message and died before this
    # line.
    after = inbox.UNSUBSCRIBE_PUSH if sending.status == "removed" else inbox.USED
    await context.database.run(after, browser.id)


def _result(params: SendPush, sendings: Sequence[dict[str, Any]]) -> PushSent:
    """Build the result of all attempts together, from the records of sent messages."""
    counts = {row["status"]: row["n"] for row in sendings}
    sent, removed = counts.get("sent", 0), counts.get("removed", 0)
    if not sent and not removed:
        raise PermanentError(f"user {params.user_id} has no push subscription")
    return PushSent(
        success=True,
        user_id=params.user_id,
        title=params.title,
        message=params.message,
        data=params.data,
        sent_to=sent,
        removed=removed,
        message_status="sent" if sent else "removed",
    )
