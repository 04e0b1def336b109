"""Runs Prometheus and Alertmanager for tests, with copies of our configuration."""

import contextlib
import itertools
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest
import yaml

from local.leash import leashed
from local.ports import pick
from tests.eventually import eventually

ROOT = Path(__file__).parent.parent
FILES = ROOT / "monitoring"
#: External labels that the tests set: the name of the system, and the base URLs for links in
#: alerts.
LINKS = {
    "system": "test",
    "docs": "https://docs.example",
    "grafana": "https://grafana.example",
    "console": "https://tasks.example/console",
}
#: Folder into which `.ci/prometheus` downloads the programs.
UNPACKED = ROOT / "var/prometheus/bin"


def program(name: str) -> str:
    """The path of a program. If it is missing, the test fails in CI and is skipped elsewhere."""
    found = shutil.which(name, path=f"{UNPACKED}{os.pathsep}{os.environ['PATH']}")
    if found is not None:
        return found
    reason = f"{name} is not installed; run .ci/prometheus, which downloads it"
    if os.environ.get("REQUIRE_PROMETHEUS") or os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


class Webhook:
    """A server that keeps the notifications that Alertmanager sends to it."""

    def __init__(self, port: int) -> None:
        self._address = ("127.0.0.1", port)
        self.url = f"http://127.0.0.1:{port}/alerts"
        self.received: list[dict[str, Any]] = []
        keep = self.received.append

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                keep(msgspec.json.decode(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._handler = Handler

    def alerts(self) -> list[dict[str, Any]]:
        """All alerts that Alertmanager has sent, oldest first.

        The watchdog, which always fires, is left out.
        """
        messages = [message for message in self.received if message["receiver"] != "watchdog"]
        return [alert for message in messages for alert in message["alerts"]]

    def alert(self, name: str, status: str) -> dict[str, Any] | None:
        """The newest alert with this name and status (firing or resolved); None if there is
        none.
        """
        alerts = self.alerts()
        found = [a for a in alerts if a["labels"]["alertname"] == name and a["status"] == status]
        return found[-1] if found else None

    @contextmanager
    def listening(self) -> Iterator[None]:
        with _served(self._address, self._handler):
            yield


@contextmanager
def served(metrics: str, port: int = 0) -> Iterator[str]:
    """Serve this fixed text as metrics, as an exporter does.

    Without `port`, any free one is used. Yields the address.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(metrics.lstrip().encode())

        def log_message(self, *_: Any) -> None:
            pass

    with _served(("127.0.0.1", port), Handler) as server:
        yield f"127.0.0.1:{server.server_port}"


@contextmanager
def _served(address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(address, handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(10)


class Prometheus:
    """Prometheus and Alertmanager, running with copies of our configuration that are adapted to
    targets on this machine.
    """

    def __init__(self, folder: Path, targets: Mapping[str, Sequence[str]], *, hasty: bool = True) -> None:
        """Prepare the configuration.

        `targets` are the addresses to scrape, by job. If `hasty`, Prometheus scrapes, evaluates and
        sends each second.
        """
        self._hasty = hasty
        port = pick("prometheus", "alertmanager", "webhook")
        self.folder = folder
        self._alertmanager = f"127.0.0.1:{port['alertmanager']}"
        self._address = f"127.0.0.1:{port['prometheus']}"
        self.webhook = Webhook(port["webhook"])
        shutil.copytree(FILES / "prometheus", folder / "prometheus")
        _rewrite(folder / "prometheus/prometheus.yml", lambda file: self._at_home(file, targets))
        if hasty:
            for file in (folder / "prometheus/rules").glob("*.yml"):
                _rewrite(file, _soon)
        shutil.copytree(FILES / "alertmanager", folder / "alertmanager")
        _rewrite(folder / "alertmanager/alertmanager.yml", self._at_once)

    def shorten(self, alert: str, seconds: int) -> None:
        """Change the rule of this alert so that it fires after this many seconds."""

        def change(file: dict[str, Any]) -> None:
            for group in file["groups"]:
                for rule in group["rules"]:
                    if rule.get("alert") == alert:
                        rule["for"] = f"{seconds}s"

        _rewrite(self.folder / "prometheus/rules/alerts.yml", change)

    def leave_out_long_waits(self) -> None:
        """Shorten the rules: alerts about events look back on at most 10 minutes, and each rule is
        evaluated at least once a minute.
        """

        def look_back(file: dict[str, Any]) -> None:
            for rule in itertools.chain.from_iterable(group["rules"] for group in file["groups"]):
                rule["expr"] = re.sub(r"\[(15m|\d+h)\]", "[10m]", rule["expr"])

        def evaluate(file: dict[str, Any]) -> None:
            for group in file["groups"]:
                if group.get("interval") in ("2m", "10m"):
                    group["interval"] = "1m"

        _rewrite(self.folder / "prometheus/rules/alerts.yml", look_back)
        _rewrite(self.folder / "prometheus/rules/objectives.yml", evaluate)

    def _at_home(self, file: dict[str, Any], targets: Mapping[str, Sequence[str]]) -> None:
        if self._hasty:
            file["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        file["global"]["external_labels"] = LINKS
        file["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [self._alertmanager]}]}]
        known = {**targets, "prometheus": [self._address], "alertmanager": [self._alertmanager]}
        for job in file["scrape_configs"]:
            for way in ("dns_sd_configs", "relabel_configs"):
                job.pop(way, None)
            addresses = [urlsplit(url).netloc or url for url in known.get(job["job_name"], ())]
            job["static_configs"] = [{"targets": addresses}]

    def _at_once(self, file: dict[str, Any]) -> None:
        url_file = self.folder / "webhook_url"
        url_file.write_text(self.webhook.url)
        for receiver in file["receivers"]:
            receiver["webhook_configs"][0]["url_file"] = str(url_file)
        if self._hasty:
            file["route"] |= {"group_wait": "0s", "group_interval": "1s"}

    @contextmanager
    def running(self) -> Iterator[None]:
        folder = self.folder
        alertmanager = [
            program("prometheus-alertmanager"),
            f"--config.file={folder}/alertmanager/alertmanager.yml",
            f"--storage.path={folder}/alertmanager-data",
            f"--web.listen-address={self._alertmanager}",
            "--cluster.listen-address=",
        ]
        self._prometheus = [
            program("prometheus"),
            f"--config.file={folder}/prometheus/prometheus.yml",
            f"--storage.tsdb.path={folder}/prometheus-data",
            f"--web.listen-address={self._address}",
        ]
        with (
            self.webhook.listening(),
            _process(alertmanager, folder / "alertmanager.log"),
            contextlib.ExitStack() as self._server,
        ):
            self._server.enter_context(_process(self._prometheus, folder / "prometheus.log"))
            yield

    async def restart(self) -> None:
        """Restart Prometheus with its data, and wait until it answers."""
        self._server.close()
        self._server.enter_context(_process(self._prometheus, self.folder / "prometheus-again.log"))
        await eventually(self.answers)

    async def ask(self, path: str, **parameters: str) -> Any:
        """Send a request to the API of Prometheus. Returns the data of its answer."""
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(f"http://{self._address}/api/v1/{path}", params=parameters)
        body = answer.json()
        assert body["status"] == "success", f"{parameters}: {body}"
        return body["data"]

    async def values(self, query: str, **parameters: str) -> list[float]:
        """The current values of all time series that a query returns, or their values at the given
        `time`.
        """
        data = await self.ask("query", query=query, **parameters)
        return [float(series["value"][1]) for series in data["result"]]

    async def answers(self) -> bool:
        try:
            await self.ask("status/buildinfo")
        except (httpx.TransportError, ValueError):
            return False
        return True

    async def until_up(self, count: int, limit_s: float = 60) -> None:
        """Wait until Prometheus reports this many of the targets as up."""

        async def up() -> bool:
            return await self.values('up{job=~"often-.+"}') == [1.0] * count

        await eventually(self.answers, limit_s)
        await eventually(up, limit_s)


def _soon(rules: dict[str, Any]) -> None:
    """Shorten the waiting times of rules to seconds.

    Groups of rules whose rates are summed keep their interval, because the sums depend on it.
    """
    for group in rules["groups"]:
        if group.get("interval", "").endswith("m"):
            group["interval"] = "5s"


def _rewrite(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = yaml.safe_load(file.read_text())
    change(content)
    file.write_text(yaml.safe_dump(content))


@contextmanager
def _process(command: Sequence[str], log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    with leashed(process.pid, "TERM"):
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)
