"""The platform keeps itself tidy."""

from datetime import datetime, timedelta
from typing import Annotated

from msgspec import Meta

from shared.contracts.contract import Contract, Params, Result, Retries
from shared.contracts.schedule import Schedule

#: A run that met another one, or a server that was away, is worth another try soon; the next firing comes
#: anyway.
RETRIES = Retries(max_attempts=3, delay=timedelta(seconds=30))


class CleanupExpiredRefreshTokens(Params):
    #: How long a token that cannot be used any more is kept as evidence. Confirmations of addresses are not.
    keep_days: Annotated[int, Meta(ge=0, le=3650)] = 30


class RefreshTokensCleaned(Result):
    success: bool
    tokens_cleaned: int
    #: What expired or was revoked before is gone.
    cutoff_date: datetime
    cleanup_completed_at: datetime


class CleanupOldTasks(Params):
    days_old: Annotated[int, Meta(ge=1, le=3650)] = 30


class OldTasksCleaned(Result):
    #: False when it was cancelled on the way.
    success: bool
    tasks_deleted: int
    #: All tasks of the days before the cutoff, final or not, and those deleted from the kept partition.
    total_tasks_found: int
    days_old: int
    cutoff_date: datetime
    cleanup_completed_at: datetime
    #: Names of the partitions of `task`, one a day, whose attempts and logs went with them.
    partitions_dropped: list[str]
    #: Those that stay, with the reason.
    partitions_kept: dict[str, str]


CLEANUP_EXPIRED_REFRESH_TOKENS = Contract(
    name="maintenance.cleanup_expired_refresh_tokens",
    queue="maintenance",
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
            # A day without it costs a partition; a leader that was away that long makes up for it.
            catch_up_s=timedelta(hours=23).total_seconds(),
            overlap="skip",
        ),
    ),
)
