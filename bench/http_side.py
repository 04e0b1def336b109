"""Runs one side of a comparison over HTTP: an API process from any source tree of this project,
with a signed-in user.

The process is controlled from outside, with environment variables and requests that every release
accepts.
"""

import secrets
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench import http_load
from bench.api import ROOMY
from bench.http_load import Load
from bench.processor import Cost, Meter
from bench.programs import Programs
from bench.stage import Stage, migrate
from local.ports import pick
from tests.eventually import eventually
from tests.platform import ROOT, VAULT_KEYS
from tests.roles import of_module

HOST = "127.0.0.1"
#: The JSON body of each POST request: a health check task.
BODY = b'{"name":"system.health_check","params":{}}'
#: Number of tasks of the signed-in user, more than fit on one page of a list.
TASKS = 60
READY_S = 60.0

_PASSWORD = "a horse, a battery"


@dataclass(frozen=True)
class Taken:
    """The result of repeating a request: the rate of answers, and the processor time per answer."""

    per_s: float
    cost: Cost


@dataclass
class Side:
    """A running API process that is ready for requests."""

    stage: Stage
    programs: Programs
    port: int
    #: Authorization header of a signed-in user; empty for a server without accounts.
    authorization: str = ""
    task_id: str = ""

    async def take(self, method: str, path: str, seconds: float) -> Taken:
        """Repeat one request for this many seconds, and measure its rate and cost.

        In the path, `{task_id}` is replaced by the id of one of the user's tasks.
        """
        request = self._request(method, path.format(task_id=self.task_id))
        expected = b"HTTP/1.1 202 " if method == "POST" else b"HTTP/1.1 200 "
        parts = {
            "API": self.programs.roots(),
            "Postgres": [self.stage.postgres],
            "Redis": [self.stage.valkey],
        }
        meter = Meter(parts)
        await self.stage.checkpoint()
        before = meter.read(0)
        rate = await http_load.measure(Load(HOST, self.port, request, expected, seconds))
        return Taken(rate.per_s, meter.read(rate.answers).since(before))

    def _request(self, method: str, path: str) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}:{self.port}"]
        if self.authorization:
            lines.append(f"Authorization: {self.authorization}")
        body = BODY if method == "POST" else b""
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + body


@asynccontextmanager
async def serving(
    stage: Stage, *, module: str = "services.api", tree: Path = ROOT, signs_up: bool = True
) -> AsyncIterator[Side]:
    """Start this module in a source tree of this project, with a database of its own, and wait
    until it is ready.
    """
    database_url, port = stage.create_database(), pick("api")["api"]
    migrate(database_url, tree)
    environment = {
        **ROOMY,
        "DATABASE_URL": of_module(database_url, module),
        "REDIS_URL": of_module(stage.redis_url, module),
        "OFTEN_API_PORT": str(port),
        "OFTEN_LOG_FORMAT": "json",
        "OFTEN_VAULT_KEYS": VAULT_KEYS,
        "SECRET_KEY": secrets.token_hex(32),
    }
    with Programs(
        Path(tempfile.mkdtemp(prefix="side-", dir=stage.folder)), environment, root=tree
    ) as programs:
        programs.start(sys.executable, "-m", module)
        side = Side(stage, programs, port)
        async with httpx.AsyncClient(base_url=f"http://{HOST}:{port}", trust_env=False, timeout=30) as http:
            await eventually(lambda: _is_ready(programs, http), READY_S)
            if signs_up:
                await _sign_up(side, http)
        yield side


async def _is_ready(programs: Programs, http: httpx.AsyncClient) -> bool:
    programs.check()
    try:
        return (await http.get("/health/ready")).is_success
    except httpx.TransportError:
        return False


async def _sign_up(side: Side, http: httpx.AsyncClient) -> None:
    """Register a user, and submit some tasks as this user."""
    person = {"email": f"{secrets.token_hex(8)}@often.example", "password": _PASSWORD}
    (await http.post("/api/v1/auth/register", json=person)).raise_for_status()
    tokens = (await http.post("/api/v1/auth/login", json=person)).raise_for_status().json()
    side.authorization = f"Bearer {tokens['access_token']}"
    headers = {"Authorization": side.authorization, "Content-Type": "application/json"}
    for _ in range(TASKS):
        answer = await http.post("/api/v1/tasks", content=BODY, headers=headers)
        side.task_id = answer.raise_for_status().json()["task_id"]
