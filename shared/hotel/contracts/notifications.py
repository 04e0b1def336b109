"""Contracts of the tasks that send Web Push messages to users of the hotel application."""

from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from shared.contracts.contract import Contract, Params, Result, Retries
from shared.contracts.objective import Objective
from shared.contracts.patterns import whole
from shared.contracts.schedule import Schedule

#: Maximum size in bytes of the payload of a push message. RFC 8030 lets a push service refuse
#: bodies of more than 4,096 bytes, and the encryption adds 103 bytes.
MAX_PAYLOAD_BYTES = 3_993

Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Title = Annotated[str, Meta(min_length=1, max_length=200)]
Message = Annotated[str, Meta(min_length=1, max_length=2_000)]
Urgency = Annotated[str, Meta(pattern=whole("very-low|low|normal|high"))]
#: Number of seconds for which a push service keeps a message for a device that is offline.
TtlS = Annotated[int, Meta(ge=0, le=2_419_200)]
DEFAULT_TTL_S = 86_400


class SendPush(Params):
    #: Id of the account. The message is sent to all browsers that the account has subscribed.
    user_id: Id
    title: Title
    message: Message
    #: Data of the message for the service worker of the web page.
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
    #: Number of browsers whose push service accepted the message, in this attempt or in an earlier
    #: one.
    sent_to: int
    #: Number of expired subscriptions that were deleted.
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
    #: Number of child tasks `notifications.send_push` that were submitted, one per user.
    submitted: int
    #: Ids of users who cannot get the message, because they have no subscription or no account.
    unreachable: list[int]


class PruneLog(Params):
    #: Age in days at which the records of sent messages are deleted. It must be at least as long as
    #: tasks are kept, because the retry of an older task would send its messages again.
    days_old: Annotated[int, Meta(ge=1, le=3650)] = 90


class LogPruned(Result):
    #: False if the task was canceled before it had deleted all old records.
    success: bool
    rows_deleted: int
    cutoff_date: datetime


def payload(title: str, message: str, data: dict[str, Any] | None, tag: str) -> bytes:
    """Encode a push message as JSON for the service worker of the web page.

    A browser shows messages with the same `tag` only once.
    """
    return msgspec.json.encode({"title": title, "body": message, "data": data or {}, "tag": tag})


def check_size(title: str, message: str, data: dict[str, Any] | None) -> None:
    """Check the size of the payload of a push message. Raises ValueError.

    The tag is the id of a task, whose length is constant.
    """
    size = len(payload(title, message, data, "0" * 36))
    if size > MAX_PAYLOAD_BYTES:
        rule = f"must be at most {MAX_PAYLOAD_BYTES} bytes together as JSON, but are {size}"
        raise ValueError(f"title, message and data {rule}")


SEND_PUSH = Contract(
    name="notifications.send_push",
    queue="notifications",
    objective=Objective(urgency="ticket", expected_per_day=10_000),
    params=SendPush,
    recipient="user_id",
    result=PushSent,
    retries=Retries(max_attempts=8, delay=timedelta(seconds=5), cap=timedelta(minutes=10)),
    time_limit=timedelta(minutes=5),
)

SEND_BULK = Contract(
    name="notifications.send_bulk",
    queue="notifications",
    objective=Objective(urgency="ticket", expected_per_day=10),
    params=SendBulk,
    result=BulkSubmitted,
    staff_only=True,
)

PRUNE_LOG = Contract(
    name="notifications.prune_log",
    queue="maintenance",
    objective=Objective(urgency="ticket", expected_per_day=1),
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
