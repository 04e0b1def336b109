"""Tests that every alert says what to do, and has a test."""

import itertools
import re
from functools import cache
from typing import Any

import pytest
import yaml

from tests.prometheus import FILES, ROOT

RUNBOOK = "docs/operations.md"
RULES = [yaml.safe_load(file.read_text()) for file in sorted((FILES / "prometheus/rules").glob("*.yml"))]
ALERTS: list[dict[str, Any]] = [
    rule for file in RULES for group in file["groups"] for rule in group["rules"] if "alert" in rule
]
CONSOLE = "{{ $externalLabels.console }}/"
#: Name of the alert that always fires, which shows that alerting works.
WATCHDOG = "OftenWatchdog"


def anchors() -> set[str]:
    """Anchors of the runbook's headings, as Markdown renderers generate them."""
    headings = re.findall(r"^#+ (.+)$", (ROOT / RUNBOOK).read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@cache
def verdicts() -> dict[str, list[bool]]:
    """For each alert, the results that its rule tests expect, in their order: True where the alert
    fires.
    """
    looked: dict[str, list[bool]] = {}
    for file in (FILES / "prometheus/tests").glob("*.yml"):
        for test in yaml.safe_load(file.read_text())["tests"]:
            for check in test.get("promql_expr_test", []):
                (pattern,) = re.findall(r'alertname=~?"([^"]+)"', check["expr"])
                for name in (alert["alert"] for alert in ALERTS):
                    if re.fullmatch(pattern, name):
                        looked.setdefault(name, []).append(bool(check["exp_samples"]))
    return looked


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_what_to_do_and_where_that_is_written(alert: dict[str, Any]) -> None:
    severities = ("none",) if alert["alert"] == WATCHDOG else ("critical", "warning")
    assert alert["labels"]["severity"] in severities
    said = alert["annotations"]
    assert said["summary"]
    assert said["description"]
    page, _, anchor = said["runbook_url"].partition("#")
    assert page == "{{ $externalLabels.docs }}/operations.md"
    assert said["dashboard_url"].startswith("{{ $externalLabels.grafana }}/d/often-")
    assert said.get("console_url", CONSOLE).startswith(CONSOLE)
    assert anchor in anchors()
    assert f"[{alert['alert']}](#{anchor})" in (ROOT / RUNBOOK).read_text()


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_the_tests_of_an_alert_see_it_fire_and_clear(alert: dict[str, Any]) -> None:
    looked = verdicts()[alert["alert"]]
    assert (True, False) in itertools.pairwise(looked) or alert["alert"] == WATCHDOG


def test_alerts_that_need_a_server_are_held_back_while_it_is_unavailable() -> None:
    rules = yaml.safe_load((FILES / "alertmanager/alertmanager.yml").read_text())["inhibit_rules"]
    away = ['alertname="OftenPostgresAway"']
    ((matcher,),) = [rule["target_matchers"] for rule in rules if rule["source_matchers"] == away]
    pattern = matcher.partition("=~")[2].strip('"')
    found = {a["alert"] for a in ALERTS if re.fullmatch(pattern, a["labels"].get("needs", ""))}
    assert {"OftenNoLeader", "OftenQueueStalled", "OftenRecorderBlocked", "OftenScheduleOverdue"} <= found
    assert not found & {"OftenPostgresAway", "OftenRedisAway", "OftenNoWorker"}


def test_every_alert_that_an_inhibition_names_exists() -> None:
    rules = yaml.safe_load((FILES / "alertmanager/alertmanager.yml").read_text())["inhibit_rules"]
    matchers = [m for rule in rules for m in (*rule["source_matchers"], *rule["target_matchers"])]
    named = {name for m in matchers for name in re.findall(r"Often\w+", m)}
    assert named - {alert["alert"] for alert in ALERTS} == set()
