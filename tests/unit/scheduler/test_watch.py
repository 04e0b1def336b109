from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from services.scheduler.rescuer import LOCK_LEASE_S, UNSEEN_LEASE_S, Watch

WORKER = uuid4()
STALL_S = 60.0
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


def seen(
    beat: int, *, locked: bool, age_s: float = 3_600, at_s: float = 0, connected_at: datetime = NOON
) -> list[dict[str, Any]]:
    return [
        {
            "id": WORKER,
            "beat": beat,
            "locked": locked,
            "started_at": NOON - timedelta(seconds=age_s),
            "now": NOON + timedelta(seconds=at_s),
            "schedulers_connected_at": connected_at,
        }
    ]


def test_a_free_lock_and_a_still_heartbeat_are_a_death_after_a_whole_lease() -> None:
    watch = Watch(STALL_S)
    assert watch.observe(seen(7, locked=True), 0) == []
    assert watch.observe(seen(7, locked=False), 1) == []
    assert watch.observe(seen(7, locked=False), 1 + LOCK_LEASE_S - 0.1) == []
    assert watch.observe(seen(7, locked=False), 1 + LOCK_LEASE_S) == [WORKER]


def test_a_worker_that_holds_its_lock_is_only_busy_until_it_stalls() -> None:
    watch = Watch(STALL_S)
    for second in range(60):
        assert watch.observe(seen(7, locked=True), second) == []
    assert watch.observe(seen(7, locked=True), 60) == [WORKER]


def test_a_worker_that_beats_lives_although_its_lock_is_gone() -> None:
    watch = Watch(STALL_S)
    for second in range(100):
        assert watch.observe(seen(second, locked=False), second) == []


def test_a_worker_that_beats_without_its_lock_is_dead_after_the_longer_lease() -> None:
    watch = Watch(STALL_S)
    watch.observe(seen(7, locked=True), 0)
    watch.observe(seen(8, locked=False), 1)
    watch.observe(seen(9, locked=False), 2)
    assert watch.observe(seen(9, locked=False), 2 + UNSEEN_LEASE_S - 0.1) == []
    assert watch.observe(seen(9, locked=False), 2 + UNSEEN_LEASE_S) == [WORKER]


def test_a_last_heartbeat_before_a_death_lengthens_no_lease() -> None:
    watch = Watch(STALL_S)
    watch.observe(seen(7, locked=True), 0)
    watch.observe(seen(8, locked=False), 1)
    assert watch.observe(seen(8, locked=False), 1 + LOCK_LEASE_S) == [WORKER]


def test_a_lock_that_is_taken_again_restarts_the_lease() -> None:
    watch = Watch(STALL_S)
    watch.observe(seen(7, locked=False), 0)
    watch.observe(seen(7, locked=True), 4)
    watch.observe(seen(7, locked=False), 6)
    assert watch.observe(seen(7, locked=False), 10) == []


def test_a_lock_not_seen_since_a_restart_of_the_watch_proves_a_death_only_after_the_longer_lease() -> None:
    watch = Watch(STALL_S)
    watch.observe(seen(7, locked=True), 0)
    watch.restart()
    assert watch.observe(seen(7, locked=False), 100) == []
    assert watch.observe(seen(7, locked=False), 100 + UNSEEN_LEASE_S - 0.1) == []
    assert watch.observe(seen(7, locked=False), 100 + UNSEEN_LEASE_S) == [WORKER]


def test_a_worker_that_came_and_died_between_two_looks_is_dead_after_the_short_lease() -> None:
    watch = Watch(STALL_S)
    watch.observe([{**seen(9, locked=True)[0], "id": uuid4()}], 0)
    assert watch.observe(seen(0, locked=False, age_s=-0.5, at_s=1), 1) == []
    assert watch.observe(seen(0, locked=False, age_s=-0.5, at_s=1 + LOCK_LEASE_S), 1 + LOCK_LEASE_S) == [
        WORKER
    ]


def test_a_lock_that_is_free_after_connections_were_cut_proves_a_death_only_after_the_longer_lease() -> None:
    watch = Watch(STALL_S)
    watch.observe(seen(7, locked=True), 0)
    cut = NOON + timedelta(seconds=10)
    assert watch.observe(seen(7, locked=False, connected_at=cut), 10) == []
    assert watch.observe(seen(7, locked=False, connected_at=cut), 10 + UNSEEN_LEASE_S - 0.1) == []
    assert watch.observe(seen(7, locked=False, connected_at=cut), 10 + UNSEEN_LEASE_S) == [WORKER]
