from services.worker.claims.claim import Attempt
from services.worker.claims.claims import Claims
from services.worker.running.memory import MB, MemoryLimit, culprit
from tests.unit.worker.test_claims import held


def running(memory_before_mb: int, for_s: float) -> Attempt:
    attempt = held()
    attempt.memory_before = memory_before_mb * MB
    attempt.started_monotonic = 1_000 - for_s
    return attempt


def test_the_body_during_whose_run_memory_grew_most_and_fastest_is_to_blame() -> None:
    old, greedy, new = running(100, for_s=600), running(110, for_s=60), running(600, for_s=1)
    assert culprit([old, greedy, new], 700 * MB, 400 * MB, now=1_000) is greedy


def test_a_slow_leak_is_no_bodys_fault() -> None:
    assert culprit([running(350, for_s=10)], 510 * MB, 400 * MB, now=1_000) is None


def test_a_limit_that_the_idle_process_exceeds_is_no_bodys_fault() -> None:
    assert culprit([running(110, for_s=10)], 120 * MB, -10 * MB, now=1_000) is None


def test_growth_counts_from_the_measurement_before_the_body_began() -> None:
    size = 100 * MB
    claims = Claims(threads=2)
    limit = MemoryLimit(claims, 400, lambda: size)
    greedy = held()
    claims.add([greedy])
    claims.take(0)
    # The process already used too much memory before its first measurement.
    size = 500 * MB
    assert limit.exceeded()
    limit.blame()
    assert str(greedy.fault) == "the worker grew by 400 MB while this attempt ran, beyond its limit of 400 MB"


def test_no_body_is_blamed_once_the_memory_is_free_again() -> None:
    size = 100 * MB
    claims = Claims(threads=1)
    limit = MemoryLimit(claims, 400, lambda: size)
    attempt = held()
    claims.add([attempt])
    claims.take(0)
    size = 500 * MB
    assert limit.exceeded()
    size = 390 * MB
    limit.blame()
    assert attempt.fault is None


def test_a_limit_of_0_means_no_limit() -> None:
    limit = MemoryLimit(Claims(threads=1), 0, lambda: 10**12)
    assert not limit.exceeded()
