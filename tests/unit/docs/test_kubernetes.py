"""Tests that the manifests in docs/kubernetes.md use paths, ports and settings that exist, and
allow enough time for the drain.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.api.__main__ import GRACE_S
from services.scheduler.process import STOP_TIMEOUT_S
from services.worker.drain import FLUSH_S, INTERRUPT_S
from shared.environment import IN_FILE, known_fields
from shared.hotel.settings import HotelSettings
from shared.settings import Settings

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "kubernetes.md").read_text()
MANIFESTS = [
    document
    for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    for document in yaml.safe_load_all(block)
]
PODS = {
    one["spec"]["template"]["spec"]["containers"][0]["name"]: one["spec"]["template"]["spec"]
    for one in MANIFESTS
    if "template" in one["spec"]
}
DEPLOYED = sorted(PODS.keys() - {"migrate"})
KNOWN = known_fields(Settings).keys() | known_fields(HotelSettings).keys()
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
PORTS = {"api": 8000, "worker": 9100, "scheduler": 9100}


def environment(name: str) -> dict[str, str]:
    return {one["name"]: one["value"] for one in PODS[name]["containers"][0]["env"]}


def test_there_is_a_manifest_for_each_image() -> None:
    targets = re.findall(r"^FROM runtime AS (\w+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert sorted(PODS) == sorted(targets)


@pytest.mark.parametrize("name", sorted(PODS))
def test_every_variable_is_a_setting_and_every_file_is_in_the_secret(name: str) -> None:
    given = environment(name)
    assert {variable.removesuffix(IN_FILE) for variable in given} <= KNOWN
    files = [value.rpartition("/")[2] for key, value in given.items() if key.endswith(IN_FILE)]
    assert files
    assert [file for file in files if f"--from-file={file}" not in PAGE] == []
    assert PODS[name]["enableServiceLinks"] is False


@pytest.mark.parametrize("name", DEPLOYED)
def test_probes_ask_the_port_that_the_process_is_told_to_listen_on(name: str) -> None:
    container = PODS[name]["containers"][0]
    given = environment(name)
    prefix = "OFTEN_API" if name == "api" else "OFTEN_METRICS"
    assert (given[f"{prefix}_HOST"], int(given[f"{prefix}_PORT"])) == ("0.0.0.0", PORTS[name])
    metrics = next(one["containerPort"] for one in container["ports"] if one["name"] == "metrics")
    assert (given["OFTEN_METRICS_HOST"], int(given["OFTEN_METRICS_PORT"])) == ("0.0.0.0", metrics)
    asked = {probe: container[f"{probe}Probe"]["httpGet"] for probe in ("readiness", "liveness")}
    assert asked == {
        "readiness": {"path": "/health/ready", "port": PORTS[name]},
        "liveness": {"path": "/health/live", "port": PORTS[name]},
    }


def test_every_pod_gets_longer_to_end_than_its_process_needs() -> None:
    grace = int(environment("worker")["OFTEN_WORKER_GRACE"])
    drain = int(environment("api")["OFTEN_API_DRAIN"])
    needed = {
        "api": drain + GRACE_S + 2,
        "worker": grace + INTERRUPT_S + FLUSH_S + 2,
        "scheduler": STOP_TIMEOUT_S + 5,
    }
    assert sorted(needed) == DEPLOYED
    assert [n for n, s in needed.items() if PODS[n]["terminationGracePeriodSeconds"] <= s] == []


@pytest.mark.parametrize("name", DEPLOYED)
def test_limits_of_memory_are_those_of_compose(name: str) -> None:
    limits: Any = COMPOSE["x-worker" if name == "worker" else "services"]
    limits = limits if name == "worker" else limits[name]
    compose = limits["deploy"]["resources"]["limits"]["memory"]
    assert PODS[name]["containers"][0]["resources"]["limits"]["memory"] == compose.replace("m", "Mi")
