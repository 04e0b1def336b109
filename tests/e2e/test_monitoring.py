"""Tests the alerts and dashboards with a real Prometheus and Alertmanager. They watch the system of
`make run`, while `make demo` submits tasks.
"""

import asyncio
import itertools
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

from tests import panels
from tests.e2e.local_system import LocalSystem
from tests.eventually import eventually
from tests.prometheus import FILES, Prometheus, served

#: The system that `make run` starts includes the hotel application, so this test needs it.
pytestmark = pytest.mark.hotel

DEMO_LIMIT_S = 90
#: Seconds within which every dashboard panel must have data. That takes some scrapes, recording
#: rules that are evaluated every 30 s, and rules that use those.
TOLD_LIMIT_S = 90
ALERT_LIMIT_S = 30
#: Seconds within which Prometheus must have sent an alert again. It repeats an alert after a minute
#: if Alertmanager was not known yet at the first time.
RESENT_LIMIT_S = 90
EACH_SECOND = {
    "name": "sample.each_second",
    "task_name": "system.health_check",
    "params": {},
    "kind": "interval",
    "expression": "1 s",
}
METRIC = re.compile(r"\b(?:often|process)_[a-z0-9_]+")


def asked() -> set[str]:
    """Names of the services' metrics that alert rules and dashboards use."""
    rules = [file.read_text() for file in (FILES / "prometheus/rules").glob("*.yml")]
    groups = itertools.chain.from_iterable(yaml.safe_load(text)["groups"] for text in rules)
    expressions = [rule["expr"] for group in groups for rule in group["rules"]]
    expressions += [query for _, query in panels.queries()]
    # A name with a colon is the result of a recording rule, not a metric of a service.
    return {
        name
        for expression in expressions
        for name in METRIC.findall(re.sub(r"[a-z0-9_]*:[a-z0-9_:]*", "", expression))
    }


def family(name: str) -> str:
    """The name of a metric in OpenMetrics, without the suffix that its series have."""
    return re.sub("_(bucket|count|sum|total)$", "", name)


@pytest.fixture(scope="module")
def system() -> Iterator[LocalSystem]:
    with tempfile.TemporaryDirectory(prefix="often-e2e-") as name:
        Path(name).chmod(0o755)  # the account that runs PostgreSQL must be able to enter this folder
        system = LocalSystem(Path(name))
        yield system
        system.close()


@pytest.fixture
async def prometheus(system: LocalSystem, tmp_path: Path) -> AsyncIterator[Prometheus]:
    """A Prometheus that scrapes the system from its start, and a server that imitates the Postgres
    exporter.
    """
    api, *others = (await system.start())["metrics"]
    targets = {"often-api": [api], "often-worker": others[:2], "often-scheduler": others[2:]}
    with served(panels.EXPORTED) as exporter:
        started = Prometheus(tmp_path, targets | {"postgres": [exporter]})
        started.shorten("OftenNoWorkerAtAll", 3)
        with started.running():
            await started.until_up(5)
            yield started


async def test_all_that_is_asked_has_an_answer_and_an_alert_reaches_the_webhook(
    system: LocalSystem, prometheus: Prometheus
) -> None:
    await fire_each_second(system.description)
    await demo(system)

    await panels.all_have_data(prometheus, TOLD_LIMIT_S)
    known = await prometheus.ask("metadata")
    assert {family(name) for name in asked()} - {family(name) for name in known} == set()
    groups = (await prometheus.ask("rules"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []
    firing = {rule["name"] for rule in rules if rule.get("state") == "firing"}
    assert firing == {"OftenWatchdog"}
    for variable in ("queue", "task"):
        values = await prometheus.ask(f"label/{variable}/values", **{"match[]": "often_tasks_started_total"})
        assert {"queue": "email", "task": "email.send_welcome"}[variable] in values

    heard = await eventually(lambda: prometheus.webhook.received, RESENT_LIMIT_S)
    assert {message["receiver"] for message in heard} == {"watchdog"}
    prometheus.webhook.received.clear()
    workers = [one for one in system.processes() if "services.worker" in one.cmdline()]
    for worker in workers:
        worker.send_signal(signal.SIGSTOP)
    try:
        fired = await eventually(
            lambda: prometheus.webhook.alert("OftenNoWorkerAtAll", "firing"), ALERT_LIMIT_S
        )
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGCONT)
    assert fired["labels"]["severity"] == "critical"
    assert fired["annotations"]["runbook_url"] == "https://docs.example/operations.md#no-worker"
    assert "docs" not in fired["labels"]
    await eventually(lambda: prometheus.webhook.alert("OftenNoWorkerAtAll", "resolved"), ALERT_LIMIT_S)


async def fire_each_second(described: dict[str, Any]) -> None:
    """Create a schedule that fires each second, so that dashboard panels about schedules soon have
    data.
    """
    async with httpx.AsyncClient(base_url=f"{described['api']}/api/v1/", trust_env=False) as api:
        admin = described["admin"]
        credentials = {"email": admin["email"], "password": admin["password"]}
        token = (await api.post("auth/login", json=credentials)).json()["access_token"]
        made = await api.post("schedules", json=EACH_SECOND, headers={"Authorization": f"Bearer {token}"})
        assert made.status_code == httpx.codes.CREATED, made.text


async def demo(system: LocalSystem) -> None:
    """Run `make demo`, which submits tasks, and wait for its end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "local.demo"),
        cwd=system.folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), DEMO_LIMIT_S)
    assert process.returncode == 0, output.decode()
