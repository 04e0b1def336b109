"""Tests our Prometheus configuration and rules with Prometheus' own tools."""

import subprocess
from pathlib import Path

import pytest

from tests.prometheus import FILES, program

PROMETHEUS = FILES / "prometheus"


def run(name: str, *arguments: str | Path) -> str:
    ended = subprocess.run([program(name), *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_promtool_accepts_configuration_and_rules() -> None:
    said = run("promtool", "check", "config", PROMETHEUS / "prometheus.yml")
    assert "3 rule files found" in said


def test_alerts_fire_and_clear() -> None:
    """All test files are checked in one call of promtool, because its output names the file and the
    check that fails.
    """
    files = sorted((PROMETHEUS / "tests").glob("*.yml"))
    assert run("promtool", "test", "rules", *files).count("SUCCESS") == len(files)


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (["alertname=OftenNoWorker", "severity=critical"], "page"),
        (["alertname=OftenQueueSlow", "severity=warning"], "ticket"),
        (["alertname=OftenWatchdog", "severity=none"], "watchdog"),
    ],
)
def test_what_is_urgent_wakes_somebody_and_the_rest_waits(labels: list[str], receiver: str) -> None:
    file = FILES / "alertmanager/alertmanager.yml"
    assert "SUCCESS" in run("amtool", "check-config", file)
    routed = run("amtool", "config", "routes", "test", f"--config.file={file}", *labels)
    assert routed.strip() == receiver
