"""Every alert can be acted upon, and is tested."""

import itertools
import re
from functools import cache
from typing import Any

import pytest
import yaml

from tests.prometheus import FILES, ROOT

RUNBOOK = "docs/operations.md"
GROUPS = yaml.safe_load((FILES / "prometheus/rules/alerts.yml").read_text())["groups"]
ALERTS: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]


def anchors() -> set[str]:
    """As renderers of Markdown make them of headings."""
    headings = re.findall(r"^#+ (.+)$", (ROOT / RUNBOOK).read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@cache
def verdicts() -> dict[str, list[bool]]:
    """Whether each alert fires at the moments at which its tests look, in the order of time."""
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
    assert alert["labels"]["severity"] in ("critical", "warning")
    said = alert["annotations"]
    assert said["summary"]
    assert said["description"]
    page, _, anchor = said["runbook_url"].partition("#")
    assert page == RUNBOOK
    assert anchor in anchors()
    assert f"[{alert['alert']}](#{anchor})" in (ROOT / RUNBOOK).read_text()


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_the_tests_of_an_alert_see_it_fire_and_clear(alert: dict[str, Any]) -> None:
    looked = verdicts()[alert["alert"]]
    assert (True, False) in itertools.pairwise(looked)


def test_what_needs_a_server_is_held_back_while_that_is_away() -> None:
    rules = yaml.safe_load((FILES / "alertmanager/alertmanager.yml").read_text())["inhibit_rules"]
    away = ['alertname="OftenPostgresAway"']
    ((matcher,),) = [rule["target_matchers"] for rule in rules if rule["source_matchers"] == away]
    pattern = matcher.partition("=~")[2].strip('"')
    found = {a["alert"] for a in ALERTS if re.fullmatch(pattern, a["labels"].get("needs", ""))}
    assert {"OftenNoLeader", "OftenQueueStalled", "OftenRecorderBlocked", "OftenScheduleOverdue"} <= found
    assert not found & {"OftenPostgresAway", "OftenRedisAway", "OftenNoWorker"}
