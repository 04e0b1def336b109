import os

import pytest

from services.worker.carried_counts import VARIABLE, CarriedCounts
from services.worker.ending import Ending
from tests.metric_values import value


def test_counts_go_on_over_the_replacements_of_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    CarriedCounts.restore().leave(Ending.MEMORY, refused=2)
    CarriedCounts.restore().leave(Ending.MEMORY, refused=0)
    CarriedCounts.restore().leave(Ending.STOP, refused=1)
    before = value("often_worker_replaced_total", reason="memory")
    left = CarriedCounts.restore()
    assert (left.refused, left.replaced) == (3, {"memory": 2})
    assert value("often_worker_replaced_total", reason="memory") == before + 2
    assert VARIABLE not in os.environ


def test_counts_of_another_release_do_not_keep_a_worker_from_starting(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(VARIABLE, '{"refused": "many"}')
    assert CarriedCounts.restore() == CarriedCounts()
    assert "they restart at 0" in caplog.text
