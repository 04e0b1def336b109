"""What Prometheus' own tools say of our files."""

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
    assert "2 rule files found" in said


@pytest.mark.parametrize("file", sorted((PROMETHEUS / "tests").glob("*.yml")), ids=lambda file: file.stem)
def test_alerts_fire_and_clear(file: Path) -> None:
    assert "SUCCESS" in run("promtool", "test", "rules", file)


def test_amtool_accepts_the_configuration_and_sends_everything_to_the_webhook() -> None:
    file = FILES / "alertmanager/alertmanager.yml"
    assert "SUCCESS" in run("amtool", "check-config", file)
    routed = run("amtool", "config", "routes", "test", f"--config.file={file}", "severity=warning")
    assert routed.strip() == "webhook"
