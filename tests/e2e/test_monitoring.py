"""A real Prometheus and Alertmanager beside the system of `make run`, under `make demo`."""

import asyncio
import itertools
import json
import math
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from monitoring.grafana import dashboard
from tests.e2e.local_system import LocalSystem
from tests.eventually import eventually
from tests.prometheus import FILES, Prometheus

#: The launcher starts the hotel application.
pytestmark = pytest.mark.hotel

DEMO_LIMIT_S = 90
#: Scrapes, recording rules, and rules over these.
TOLD_LIMIT_S = 30
ALERT_LIMIT_S = 30
EACH_SECOND = {
    "name": "sample.each_second",
    "task_name": "system.health_check",
    "params": {},
    "kind": "interval",
    "expression": "1 s",
}
PAGE: dict[str, Any] = json.loads(dashboard.FILE.read_text())
#: As with "All" chosen.
CHOSEN = {"$queue": ".*", "$task": ".*"}
METRIC = re.compile(r"\b(?:often|process)_[a-z0-9_]+")


def queries() -> Iterator[tuple[str, str]]:
    """Panel and query, for each of the dashboard."""
    for panel in PAGE["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"]
            for variable, value in CHOSEN.items():
                query = query.replace(variable, value)
            yield panel["title"], query


def asked() -> set[str]:
    """The metrics of the services that rules and dashboard ask for."""
    rules = [(FILES / "prometheus/rules" / name).read_text() for name in ("recording.yml", "alerts.yml")]
    groups = itertools.chain.from_iterable(yaml.safe_load(text)["groups"] for text in rules)
    expressions = [rule["expr"] for group in groups for rule in group["rules"]]
    expressions += [query for _, query in queries()]
    # What has a colon was recorded, by the rules that are among them.
    return {
        name
        for expression in expressions
        for name in METRIC.findall(re.sub(r"[a-z0-9_]*:[a-z0-9_:]*", "", expression))
    }


def family(name: str) -> str:
    """As OpenMetrics calls it."""
    return re.sub("_(bucket|count|sum|total)$", "", name)


@pytest.fixture(scope="module")
def system() -> Iterator[LocalSystem]:
    with tempfile.TemporaryDirectory(prefix="often-e2e-") as name:
        Path(name).chmod(0o755)  # PostgreSQL's own account must get through when root runs the tests
        system = LocalSystem(Path(name))
        yield system
        system.close()


@pytest.fixture
async def prometheus(system: LocalSystem, tmp_path: Path) -> AsyncIterator[Prometheus]:
    """Sees the system from its start."""
    api, *others = (await system.start())["metrics"]
    targets = {"often-api": [api], "often-worker": others[:2], "often-scheduler": others[2:]}
    started = Prometheus(tmp_path, targets)
    started.shorten("OftenNoWorker", 3)
    with started.running():
        await started.until_up(5)
        yield started


async def test_all_that_is_asked_has_an_answer_and_an_alert_reaches_the_webhook(
    system: LocalSystem, prometheus: Prometheus
) -> None:
    await fire_each_second(system.description)
    await demo(system)

    await asyncio.gather(*(has_data(prometheus, panel, query) for panel, query in queries()))
    known = await prometheus.ask("metadata")
    assert {family(name) for name in asked()} - {family(name) for name in known} == set()
    rules = [rule for group in (await prometheus.ask("rules"))["groups"] for rule in group["rules"]]
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []
    assert [rule["name"] for rule in rules if rule.get("state") == "firing"] == []
    for variable in ("queue", "task"):
        values = await prometheus.ask(f"label/{variable}/values", **{"match[]": "often_tasks_started_total"})
        assert {"queue": "email", "task": "email.send_welcome"}[variable] in values

    prometheus.webhook.received.clear()
    workers = [one for one in system.processes() if "services.worker" in one.cmdline()]
    for worker in workers:
        worker.send_signal(signal.SIGSTOP)
    try:
        fired = await eventually(lambda: prometheus.webhook.alert("OftenNoWorker", "firing"), ALERT_LIMIT_S)
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGCONT)
    assert fired["labels"]["severity"] == "critical"
    assert fired["labels"]["queue"] in fired["annotations"]["summary"]
    assert fired["annotations"]["runbook_url"] == "docs/operations.md#no-worker"
    await eventually(lambda: prometheus.webhook.alert("OftenNoWorker", "resolved"), ALERT_LIMIT_S)


async def fire_each_second(described: dict[str, Any]) -> None:
    """So that a schedule has something to tell within the time of a test."""
    async with httpx.AsyncClient(base_url=f"{described['api']}/api/v1/", trust_env=False) as api:
        admin = described["admin"]
        credentials = {"email": admin["email"], "password": admin["password"]}
        token = (await api.post("auth/login", json=credentials)).json()["access_token"]
        made = await api.post("schedules", json=EACH_SECOND, headers={"Authorization": f"Bearer {token}"})
        assert made.status_code == httpx.codes.CREATED, made.text


async def demo(system: LocalSystem) -> None:
    """As `make demo` runs it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "local.demo"),
        cwd=system.folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), DEMO_LIMIT_S)
    assert process.returncode == 0, output.decode()


async def has_data(prometheus: Prometheus, panel: str, query: str) -> None:
    async def any_number() -> bool:
        return any(not math.isnan(value) for value in await prometheus.values(query))

    try:
        await eventually(any_number, TOLD_LIMIT_S)
    except AssertionError as error:
        raise AssertionError(f"panel {panel!r} has no data: {query}") from error
