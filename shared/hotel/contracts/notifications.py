"""Web Push to the hotel application's users."""

from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from shared.contracts.contract import Contract, Params, Result, Retries
from shared.contracts.patterns import whole
from shared.contracts.schedule import Schedule

#: RFC 8030 lets a push service refuse bodies of more than 4,096 bytes; encryption takes 103 of them.
MAX_PAYLOAD_BYTES = 3_993

Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Title = Annotated[str, Meta(min_length=1, max_length=200)]
Message = Annotated[str, Meta(min_length=1, max_length=2_000)]
Urgency = Annotated[str, Meta(pattern=whole("very-low|low|normal|high"))]
#: How long a push service keeps it for a device that is off.
TtlS = Annotated[int, Meta(ge=0, le=2_419_200)]
DEFAULT_TTL_S = 86_400


class SendPush(Params):
    #: All browsers that this user has subscribed get it.
    user_id: Id
    title: Title
    message: Message
    #: Handed to the page's service worker.
    data: dict[str, Any] | None = None
    urgency: Urgency = "normal"
    ttl_s: TtlS = DEFAULT_TTL_S

    def __post_init__(self) -> None:
        check_size(self.title, self.message, self.data)


class PushSent(Result):
    success: bool
    user_id: int
    title: str
    message: str
    data: dict[str, Any] | None
    #: Browsers whose push service took it, in this attempt or an earlier one.
    sent_to: int
    #: Subscriptions that were over and are deleted.
    removed: int
    message_status: str


class SendBulk(Params):
    user_ids: Annotated[list[Id], Meta(min_length=1, max_length=10_000)]
    title: Title
    message: Message
    data: dict[str, Any] | None = None
    urgency: Urgency = "normal"
    ttl_s: TtlS = DEFAULT_TTL_S

    def __post_init__(self) -> None:
        check_size(self.title, self.message, self.data)


class BulkSubmitted(Result):
    success: bool
    #: Tasks of `notifications.send_push`, one per user.
    submitted: int
    #: Users without a subscription, or without an account.
    unreachable: list[int]


class PruneLog(Params):
    #: How long it is known who was sent what. Not shorter than tasks are kept: a retry of an older task would
    #: send its messages again.
    days_old: Annotated[int, Meta(ge=1, le=3650)] = 90


class LogPruned(Result):
    #: False when it was cancelled on the way.
    success: bool
    rows_deleted: int
    cutoff_date: datetime


def payload(title: str, message: str, data: dict[str, Any] | None, tag: str) -> bytes:
    """What the page's service worker gets. `tag` lets a browser show a repeated message once."""
    return msgspec.json.encode({"title": title, "body": message, "data": data or {}, "tag": tag})


def check_size(title: str, message: str, data: dict[str, Any] | None) -> None:
    """Raises ValueError; the tag is a task's id, always of one length."""
    size = len(payload(title, message, data, "0" * 36))
    if size > MAX_PAYLOAD_BYTES:
        rule = f"must be at most {MAX_PAYLOAD_BYTES} bytes together as JSON, but are {size}"
        raise ValueError(f"title, message and data {rule}")


SEND_PUSH = Contract(
    name="notifications.send_push",
    queue="notifications",
    params=SendPush,
    recipient="user_id",
    result=PushSent,
    retries=Retries(max_attempts=8, delay=timedelta(seconds=5), cap=timedelta(minutes=10)),
    time_limit=timedelta(minutes=5),
)

SEND_BULK = Contract(
    name="notifications.send_bulk",
    queue="notifications",
    params=SendBulk,
    result=BulkSubmitted,
    staff_only=True,
)

PRUNE_LOG = Contract(
    name="notifications.prune_log",
    queue="maintenance",
    params=PruneLog,
    result=LogPruned,
    staff_only=True,
    schedules=(
        Schedule(
            name="notifications.prune_log.daily",
            kind="cron",
            expression="45 3 * * *",
            params=PruneLog(),
            catch_up_s=timedelta(hours=23).total_seconds(),
            overlap="skip",
        ),
    ),
)
