"""Contracts of the tasks that delete old rows from the platform's own tables."""

from datetime import datetime, timedelta
from typing import Annotated

from msgspec import Meta

from shared.contracts.contract import Contract, Params, Result, Retries
from shared.contracts.objective import Objective
from shared.contracts.schedule import Schedule

#: Retries of maintenance tasks. A task is retried soon after a conflict with another run, or while
#: a server is unavailable. If the last attempt fails, the next firing of its schedule follows.
RETRIES = Retries(max_attempts=3, delay=timedelta(seconds=30))


class CleanupExpiredRefreshTokens(Params):
    #: Number of days for which an expired or revoked refresh token is kept as evidence. Expired
    #: confirmations of mail addresses are not kept.
    keep_days: Annotated[int, Meta(ge=0, le=3650)] = 30


class RefreshTokensCleaned(Result):
    success: bool
    tokens_cleaned: int
    #: The time before which the deleted tokens had expired or were revoked.
    cutoff_date: datetime
    cleanup_completed_at: datetime


class CleanupOldTasks(Params):
    days_old: Annotated[int, Meta(ge=1, le=3650)] = 30


class OldTasksCleaned(Result):
    #: False if the task was canceled before the cleanup had finished.
    success: bool
    tasks_deleted: int
    #: Number of deleted tasks: all tasks of the days before the cutoff, and ended tasks from the
    #: kept partition, which contains tasks that were unfinished when their day was dropped.
    total_tasks_found: int
    days_old: int
    cutoff_date: datetime
    cleanup_completed_at: datetime
    #: Names of the dropped partitions of the table `task`, one per day. The attempts and logs of
    #: their tasks are deleted too.
    partitions_dropped: list[str]
    #: Names of the partitions that were not dropped, with the reason for each.
    partitions_kept: dict[str, str]


CLEANUP_EXPIRED_REFRESH_TOKENS = Contract(
    name="maintenance.cleanup_expired_refresh_tokens",
    queue="maintenance",
    objective=Objective(urgency="ticket", expected_per_day=24),
    params=CleanupExpiredRefreshTokens,
    result=RefreshTokensCleaned,
    retries=RETRIES,
    staff_only=True,
    schedules=(
        Schedule(
            name="maintenance.cleanup_expired_refresh_tokens.hourly",
            kind="interval",
            expression="1 h",
            params=CleanupExpiredRefreshTokens(),
            overlap="skip",
        ),
    ),
)

CLEANUP_OLD_TASKS = Contract(
    name="maintenance.cleanup_old_tasks",
    queue="maintenance",
    objective=Objective(urgency="ticket", expected_per_day=1),
    params=CleanupOldTasks,
    result=OldTasksCleaned,
    retries=RETRIES,
    staff_only=True,
    schedules=(
        Schedule(
            name="maintenance.cleanup_old_tasks.daily",
            kind="cron",
            expression="15 3 * * *",
            params=CleanupOldTasks(),
            # If a cleanup was missed because no scheduler was running, it is made up for within 23
            # hours. Otherwise, one more partition would be kept for each missed day.
            catch_up_s=timedelta(hours=23).total_seconds(),
            overlap="skip",
        ),
    ),
)
