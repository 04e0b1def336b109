import time

import pytest

from services.worker.claims.rate import Rate


def test_a_rate_is_known_after_32_tasks_or_50_ms(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    rate = Rate()
    now = 100.01
    assert rate.update(31) == 0
    assert rate.update(32) == pytest.approx(3_200)
    now = 100.05
    assert rate.update(33) == pytest.approx(3_200)
    now = 100.11
    assert rate.update(37) == pytest.approx(50)
