"""Tests of service level objectives in contracts, and of the Prometheus rules that are generated
from them.
"""

from dataclasses import replace

import pytest

from monitoring.prometheus import burn, objectives
from shared.contracts.objective import Objective
from shared.contracts.system import HEALTH_CHECK
from tests.installed import HOTEL

CONTRACTS = [
    HEALTH_CHECK,
    replace(HEALTH_CHECK, name="mail.send", queue="mail", objective=Objective(wait_p=(0.99, 30))),
]


@pytest.mark.skipif(not HOTEL, reason="the file is made with the hotel application")
def test_the_file_is_what_the_contracts_make() -> None:
    assert objectives.FILE.read_text() == objectives.text(), "run `make rules`"


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"success": 1.0}, "success of an objective must be a share from 0.5 to below 1, not 1.0"),
        ({"wait_p": (0.99, 45)}, "wait_p of an objective must name one of .* seconds, not 45"),
        ({"run_p": (99, 60)}, "run_p of an objective must be a share"),
        ({"expected_per_day": -1}, "expected_per_day of an objective must not be negative"),
    ],
)
def test_an_objective_that_cannot_be_measured_is_refused(wrong: dict[str, object], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        Objective(**wrong)  # type: ignore[arg-type]


def test_the_tasks_of_a_queue_wait_together() -> None:
    hasty = replace(HEALTH_CHECK, name="system.hurry", objective=Objective(wait_p=(0.99, 1)))
    with pytest.raises(ValueError, match=r"queue default.*must be equal; system.hurry has \(0.99, 1\)"):
        objectives.waits_by_queue([*CONTRACTS, hasty])


def test_a_task_adds_series_and_no_rules_of_its_own() -> None:
    def alerts(contracts: list[object]) -> int:
        groups = objectives.rules(contracts)["groups"]  # type: ignore[arg-type]
        rules = [rule for group in groups for rule in group["rules"]]
        return sum("alert" in rule or "objective" not in rule["record"] for rule in rules)

    more = replace(HEALTH_CHECK, name="system.hurry")
    assert alerts([*CONTRACTS]) == alerts([*CONTRACTS, more])


@pytest.mark.parametrize(("a_day", "kind"), [(None, "unknown"), (49, "low"), (50, "medium"), (2_000, "high")])
def test_rare_tasks_are_judged_by_counts_and_common_ones_by_shares(a_day: int | None, kind: str) -> None:
    assert burn.traffic(a_day) == kind
    judged = {each for rule in (burn.FAST, burn.SLOW, burn.MEDIUM, burn.MEDIUM_SLOW) for each in rule.classes}
    assert (kind in judged) == (kind != "low")
