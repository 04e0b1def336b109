"""Tests with a process whose clock is wrong: tasks must start, wait and expire by the database's
clock.
"""

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Self

import pytest

from services.scheduler.dispatcher import SETTLING, Dispatcher
from services.scheduler.index_cursor import IndexCursor
from shared.contracts.catalogue import Catalogue
from shared.errors import InvalidFields
from shared.ledger import database
from shared.new_task import NewTask
from shared.schedules.firing import Firing, TaskToFire
from shared.submission import OnceKey
from tests.platform import Platform
from tests.sample_tasks import HASTY, Nothing

#: How long a task of the contract HASTY may wait before it expires.
MAX_WAIT = timedelta(seconds=2)
SKEWS = [timedelta(minutes=-10), timedelta(minutes=10)]
Skew = Callable[[timedelta], None]


@pytest.fixture
def skew(monkeypatch: pytest.MonkeyPatch) -> Skew:
    """A function that sets the clock of the platform's code forward or back."""

    def skew(by: timedelta) -> None:
        class Wrong(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Self:
                return super().now(tz) + by

        monkeypatch.setattr(database, "datetime", Wrong)

    return skew


def _true_now() -> datetime:
    """The correct time. It is also Postgres' time, because Postgres runs on this machine."""
    return datetime.now(UTC)


async def _left(platform: Platform, column: str) -> float:
    """Seconds from the creation of the newest task to the time in this column of its row."""
    text = (
        f"SELECT extract(epoch FROM {column} - created_at)::float8 AS left FROM task ORDER BY id DESC LIMIT 1"
    )
    return float((await platform.rows(text))[0]["left"])


@pytest.mark.parametrize("by", SKEWS, ids=["behind", "ahead"])
@pytest.mark.parametrize(
    "run_at", [timedelta(minutes=-5), timedelta(days=-365)], ids=["5 min ago", "long ago"]
)
async def test_a_start_time_in_the_past_means_now_and_max_wait_counts_from_now(
    platform: Platform, skew: Skew, by: timedelta, run_at: timedelta
) -> None:
    skew(by)
    submitter = platform.submitter
    new = NewTask(contract=HASTY, params=Nothing(), run_at=_true_now() + run_at)
    for submit in (
        submitter.submit([new]),
        submitter.submit([new, new]),
        submitter.submit_once([new], OnceKey("owner:1", "k", b"")),
    ):
        await submit
        assert await _left(platform, "send_at") == pytest.approx(0, abs=0.5)
        assert await _left(platform, "expires_at") == pytest.approx(MAX_WAIT.total_seconds(), abs=0.5)


@pytest.mark.parametrize("by", SKEWS, ids=["behind", "ahead"])
async def test_an_expiry_is_compared_with_the_time_of_the_database(
    platform: Platform, skew: Skew, by: timedelta
) -> None:
    skew(by)
    await platform.submitter.note_time()
    in_time, too_late = (_true_now() + timedelta(minutes=minutes) for minutes in (5, -5))
    await platform.submitter.submit([NewTask(contract=HASTY, params=Nothing(), expires_at=in_time)])
    with pytest.raises(InvalidFields, match="must be later than the moment it may start"):
        await platform.submitter.submit([NewTask(contract=HASTY, params=Nothing(), expires_at=too_late)])


@pytest.mark.parametrize("by", SKEWS, ids=["behind", "ahead"])
async def test_a_schedule_submits_by_the_time_of_the_database(
    platform: Platform, skew: Skew, by: timedelta
) -> None:
    seen: list[datetime] = []

    def rules_for_new(_: Nothing, now: datetime) -> list[Any]:
        seen.append(now)
        return []

    skew(by)
    contract = dataclasses.replace(HASTY, rules_for_new=rules_for_new)
    async with platform.submitter.transaction():
        (row,) = await platform.rows(
            "SELECT *, now() AS now FROM (VALUES ('nightly', NULL::bigint, 5, 'interval', '1 h', 'UTC', 60))"
            " AS s(name, owner, priority, kind, expression, time_zone, jitter_s)"
        )
        missed = row["now"].replace(microsecond=0) - timedelta(hours=3)
        fires = Firing(platform.database, platform.submitter, platform.vault, Catalogue([]), {})
        await fires.fire(row, TaskToFire(contract, Nothing()), [missed])
    assert abs((seen[0] - _true_now()).total_seconds()) < 30
    assert await _left(platform, "expires_at") == pytest.approx(MAX_WAIT.total_seconds(), abs=0.5)


@pytest.mark.parametrize("by", SKEWS, ids=["behind", "ahead"])
async def test_the_leader_moves_past_due_times_by_the_time_of_the_database(
    platform: Platform, skew: Skew, by: timedelta
) -> None:
    skew(by)
    cursor = IndexCursor()
    await Dispatcher(platform.database, platform.queues, cursor).run_once()
    assert abs(cursor.after - (_true_now() - SETTLING)) < timedelta(seconds=5)
