"""Prometheus and Alertmanager for tests: their programs, and both running over a copy of our files."""

import os
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
#: Where `.ci/prometheus` puts them.
UNPACKED = ROOT / "var/prometheus/bin"


def program(name: str) -> str:
    """The path of a program; without it the test fails in the CI and is skipped elsewhere."""
    found = shutil.which(name, path=f"{UNPACKED}{os.pathsep}{os.environ['PATH']}")
    if found is not None:
        return found
    reason = f"{name} is not there; .ci/prometheus unpacks it"
    if os.environ.get("REQUIRE_PROMETHEUS") or os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


class Webhook:
    """Keeps what Alertmanager sends."""

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

    def alert(self, name: str, status: str) -> dict[str, Any] | None:
        """The newest with this name and status, firing or resolved."""
        alerts = [alert for message in self.received for alert in message["alerts"]]
        found = [a for a in alerts if a["labels"]["alertname"] == name and a["status"] == status]
        return found[-1] if found else None

    @contextmanager
    def listening(self) -> Iterator[None]:
        with ThreadingHTTPServer(self._address, self._handler) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join(10)


class Prometheus:
    """Both programs over generated copies of our configuration, with targets of this machine."""

    def __init__(self, folder: Path, targets: Mapping[str, Sequence[str]]) -> None:
        """`targets` are addresses of metrics by job."""
        port = pick("prometheus", "alertmanager", "webhook")
        self._folder = folder
        self._alertmanager = f"127.0.0.1:{port['alertmanager']}"
        self._address = f"127.0.0.1:{port['prometheus']}"
        self.webhook = Webhook(port["webhook"])
        shutil.copytree(FILES / "prometheus", folder / "prometheus")
        _rewrite(folder / "prometheus/prometheus.yml", lambda file: self._at_home(file, targets))
        shutil.copytree(FILES / "alertmanager", folder / "alertmanager")
        _rewrite(folder / "alertmanager/alertmanager.yml", self._at_once)

    def shorten(self, alert: str, seconds: int) -> None:
        """Let this alert fire after so long."""

        def change(file: dict[str, Any]) -> None:
            for group in file["groups"]:
                for rule in group["rules"]:
                    if rule.get("alert") == alert:
                        rule["for"] = f"{seconds}s"

        _rewrite(self._folder / "prometheus/rules/alerts.yml", change)

    def _at_home(self, file: dict[str, Any], targets: Mapping[str, Sequence[str]]) -> None:
        file["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        file["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [self._alertmanager]}]}]
        known = {**targets, "prometheus": [self._address], "alertmanager": [self._alertmanager]}
        for job in file["scrape_configs"]:
            for way in ("dns_sd_configs", "relabel_configs"):
                job.pop(way, None)
            job["static_configs"] = [
                {"targets": [urlsplit(url).netloc or url for url in known[job["job_name"]]]}
            ]

    def _at_once(self, file: dict[str, Any]) -> None:
        url_file = self._folder / "webhook_url"
        url_file.write_text(self.webhook.url)
        (receiver,) = file["receivers"]
        receiver["webhook_configs"][0]["url_file"] = str(url_file)
        file["route"] |= {"group_wait": "0s", "group_interval": "1s"}

    @contextmanager
    def running(self) -> Iterator[None]:
        folder = self._folder
        alertmanager = [
            program("prometheus-alertmanager"),
            f"--config.file={folder}/alertmanager/alertmanager.yml",
            f"--storage.path={folder}/alertmanager-data",
            f"--web.listen-address={self._alertmanager}",
            "--cluster.listen-address=",
        ]
        prometheus = [
            program("prometheus"),
            f"--config.file={folder}/prometheus/prometheus.yml",
            f"--storage.tsdb.path={folder}/prometheus-data",
            f"--web.listen-address={self._address}",
        ]
        with (
            self.webhook.listening(),
            _process(alertmanager, folder / "alertmanager.log"),
            _process(prometheus, folder / "prometheus.log"),
        ):
            yield

    async def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API."""
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(f"http://{self._address}/api/v1/{path}", params=parameters)
        body = answer.json()
        assert body["status"] == "success", f"{parameters}: {body}"
        return body["data"]

    async def values(self, query: str) -> list[float]:
        """Of all series that a query has at this moment."""
        data = await self.ask("query", query=query)
        return [float(series["value"][1]) for series in data["result"]]

    async def answers(self) -> bool:
        try:
            await self.ask("status/buildinfo")
        except (httpx.TransportError, ValueError):
            return False
        return True

    async def until_up(self, count: int) -> None:
        """All targets of ours are up."""

        async def up() -> bool:
            return await self.values('up{job=~"often-.+"}') == [1.0] * count

        await eventually(self.answers)
        await eventually(up)


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
