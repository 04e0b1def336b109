"""Tests of the limits that keep clients from using up the memory, connections or time of the API
process.
"""

import asyncio
import contextlib
import re
import secrets
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil
import pytest
import yaml

from services.api.http import connections
from services.api.http.connection import HEADER_BYTES, MAX_HEADERS, MAX_PIPELINED
from tests.api_process import Api
from tests.eventually import eventually
from tests.platform import Platform
from tests.prometheus import ROOT

#: Longest time in seconds that another user may have to wait for an answer during an attack.
IN_TIME_S = 2.0
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
MEMORY = int(COMPOSE["services"]["api"]["deploy"]["resources"]["limits"]["memory"].removesuffix("m")) * 2**20
SUBMISSION = {"name": "system.health_check", "params": {}}
GET = b"GET /health/live HTTP/1.1\r\nHost: often\r\n"


@dataclass
class Victim:
    """The API under attack, and an ordinary user of it, who opens a new connection for each
    request.
    """

    api: Api
    http: httpx.AsyncClient
    headers: dict[str, str]
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def is_served(self) -> None:
        assert await self._submit() < IN_TIME_S
        rss = psutil.Process(self.api.process.pid).memory_info().rss
        assert rss < MEMORY, f"{rss / 2**20:.0f} MB"

    async def served_until(self, attack: "asyncio.Future[Any]") -> None:
        """Check at least three times, and until the attack is over, that the user is served."""
        asked = 0
        while not attack.done() or asked < 3:
            await self.is_served()
            asked += 1
        await attack

    async def _submit(self) -> float:
        began = time.monotonic()
        answer = await self.http.post("/api/v1/tasks", json=SUBMISSION, headers=self.headers)
        assert answer.status_code in (200, 201, 202), answer.text
        return time.monotonic() - began

    async def connect(self, first: bytes) -> "Attacker":
        reader, writer = await asyncio.open_connection("127.0.0.1", self.api.port)
        self.writers.append(writer)
        writer.write(first)
        return Attacker(reader, writer)

    async def asked(self, *parts: bytes) -> tuple[int, dict[str, Any]]:
        """Send these bytes as a request. Returns the status and body of the answer."""
        attacker = await self.connect(b"".join(parts))
        return await attacker.answer()


@dataclass
class Attacker:
    """An attacker's connection. The server may close it at any time, so any write may fail."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> bool:
        """Send data to the API. Returns False if the API no longer accepts any."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except OSError:
            return False
        return not self.reader.at_eof()

    async def answer(self) -> tuple[int, dict[str, Any]]:
        """Read the answer until the connection ends.

        Returns its status, which is 0 if there is no answer, and its body.
        """
        read = b""
        with contextlib.suppress(OSError):
            while part := await asyncio.wait_for(self.reader.read(65_536), 30):
                read += part
        self.writer.close()
        head, _, body = read.partition(b"\r\n\r\n")
        status = re.match(rb"HTTP/1\.1 (\d+)", head)
        if status is None:
            return 0, {}
        found = httpx.Response(int(status[1]), content=body)
        return found.status_code, found.json() | {"head": head.decode().lower()}


@pytest.fixture
async def victim(platform: Platform) -> AsyncIterator[Victim]:
    api = Api(platform)
    await api.start(OFTEN_RATE_LIMIT_ADDRESS="100000/minute")
    credentials = {"email": f"{secrets.token_hex(8)}@often.example", "password": secrets.token_hex(8)}
    each_on_its_own = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(
        base_url=api.url, trust_env=False, timeout=30, limits=each_on_its_own
    ) as http:
        await http.post("/api/v1/auth/register", json=credentials)
        token = (await http.post("/api/v1/auth/login", json=credentials)).json()["access_token"]
        victim = Victim(api, http, {"Authorization": f"Bearer {token}"})
        yield victim
    for writer in victim.writers:
        writer.transport.abort()


@pytest.fixture(autouse=True)
def _files() -> None:
    connections.reserve_files()


async def _flood(victim: Victim, first: bytes, more: bytes, most: int) -> tuple[int, int, dict[str, Any]]:
    """Send data until the server accepts no more, or until `most` bytes are sent.

    Returns the number of bytes sent, and the status and body of the answer.
    """
    attacker, sent = await victim.connect(first), len(first)
    while sent < most and await attacker.send(more):
        sent += len(more)
    return sent, *await attacker.answer()


async def test_endless_headers_are_refused_early(victim: Victim) -> None:
    chunked = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: often\r\nTransfer-Encoding: chunked\r\n\r\n"
    endless = [
        (GET + b"X-Endless: ", b"x" * 65_536),
        (b"GET /" + b"x" * 1_000, b"x" * 65_536),
        (GET, b"X-Field: 1\r\n" * 5_000),
        (chunked + b"1\r\n{\r\n0\r\n", b"X-Trailer: 1\r\n" * 5_000),
    ]
    floods = [_flood(victim, first, more, most=20_000_000) for first, more in endless for _ in range(10)]
    attack = asyncio.gather(*floods)
    await victim.served_until(attack)
    # Status 0 means that the client received no answer: while it goes on sending, a reset of the
    # connection may arrive before the answer.
    answers = {(status, problem.get("type")) for _, status, problem in await attack}
    assert answers <= {(431, "urn:often:problem:header-too-large"), (0, None)}
    assert max(sent for sent, _, _ in await attack) < 20_000_000


async def test_a_header_may_have_64_kb_and_100_fields(victim: Victim) -> None:
    async def asked(fields: bytes) -> tuple[int, dict[str, Any]]:
        return await victim.asked(GET, fields, b"Connection: close\r\n\r\n")

    for fields in (
        b"X-Large: " + b"x" * (HEADER_BYTES - 2_000) + b"\r\n",
        b"X-Field: 1\r\n" * (MAX_HEADERS - 2),
    ):
        assert (await asked(fields))[0] == 200
    for fields in (b"X-Large: " + b"x" * (HEADER_BYTES + 16_384) + b"\r\n", b"X-Field: 1\r\n" * MAX_HEADERS):
        status, problem = await asked(fields)
        assert status == 431
        assert "connection: close" in problem["head"]
        assert str(HEADER_BYTES) in problem["detail"]


async def test_unfinished_headers_do_not_block_others_and_end_after_ten_seconds(victim: Victim) -> None:
    async def open_many() -> list[Attacker]:
        return [await victim.connect(GET) for _ in range(connections.MAX_CONNECTIONS + 100)]

    began = time.monotonic()
    opening = asyncio.create_task(open_many())
    await victim.served_until(opening)
    answers = await asyncio.gather(*(attacker.answer() for attacker in opening.result()))
    assert time.monotonic() - began < connections.HEADER_LIMIT_S + 8
    kinds = {problem.get("type", "").rpartition(":")[2] for _, problem in answers}
    assert kinds == {"header-too-slow", "too-many-connections"}
    await victim.is_served()


async def test_unfinished_bodies_of_one_user_do_not_delay_others(victim: Victim) -> None:
    lines = [f"{name}: {value}\r\n" for name, value in victim.headers.items()]
    head = f"POST /api/v1/tasks HTTP/1.1\r\nHost: often\r\n{''.join(lines)}Content-Length: 1000000\r\n\r\n"

    async def hold() -> Attacker:
        attacker = await victim.connect(head.encode())
        await attacker.send(b" " * 999_999)
        return attacker

    holding = asyncio.gather(*(hold() for _ in range(120)))
    await victim.served_until(holding)
    answers = await asyncio.gather(*(attacker.answer() for attacker in await holding))
    told = [problem for status, problem in answers if status == 503]
    assert told
    assert {problem["type"] for problem in told} == {"urn:often:problem:too-many-bytes"}
    assert all("retry-after: 1" in problem["head"] for problem in told)
    # Requests with status 408 were not refused but held until they timed out. The bodies of all
    # held requests together must fit into the limit.
    assert sum(status == 408 for status, _ in answers) <= connections.MAX_HELD_BYTES // 999_999


async def test_a_large_body_without_credentials_is_refused_before_it_is_read(victim: Victim) -> None:
    for path, size, status in (
        ("auth/login", 20_000, 413),
        ("auth/register", 20_000, 413),
        ("tasks", 10**6, 401),
    ):
        head = f"POST /api/v1/{path} HTTP/1.1\r\nHost: often\r\nContent-Length: {size}\r\n"
        assert (await victim.asked(head.encode(), b"Connection: close\r\n\r\n"))[0] == status


async def test_endless_pipelined_requests_are_cut(victim: Victim) -> None:
    first = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: often\r\nContent-Length: 2\r\n\r\n{}"
    sent, status, _ = await _flood(victim, first + GET + b"\r\n", (GET + b"\r\n") * 1_000, most=20_000_000)
    assert sent < 20_000_000
    assert status in (0, 400)
    some = await victim.connect((GET + b"\r\n") * (MAX_PIPELINED - 1) + GET + b"Connection: close\r\n\r\n")
    answered = await asyncio.wait_for(some.reader.read(), 10)
    assert answered.count(b"HTTP/1.1 200 ") == MAX_PIPELINED


async def test_a_client_that_reads_no_answer_is_cut(victim: Victim) -> None:
    await victim.api.stop()
    await victim.api.start(OFTEN_REQUEST_TIMEOUT="1")
    asked = b"GET /docs/assets/swagger-ui-bundle.js HTTP/1.1\r\nHost: often\r\n\r\n"

    def is_open() -> bool:
        found = psutil.Process(victim.api.process.pid).net_connections("tcp")
        return port in {one.raddr.port for one in found if len(one.raddr)}

    with socket.create_connection(("127.0.0.1", victim.api.port)) as deaf:
        port = deaf.getsockname()[1]
        # The answers have 24 MB in total, of which the kernel buffers only a few, so the API cannot
        # send them all.
        deaf.sendall(asked * MAX_PIPELINED)
        await eventually(is_open)
        await eventually(lambda: not is_open(), connections.HEADER_LIMIT_S + 15)


async def test_a_connection_that_answered_early_ends_when_the_body_never_does(victim: Victim) -> None:
    await victim.api.stop()
    await victim.api.start(OFTEN_REQUEST_TIMEOUT="1")
    head = b"POST /nowhere HTTP/1.1\r\nHost: often\r\nTransfer-Encoding: chunked\r\n\r\n"
    attacker = await victim.connect(head)
    # The API looks only once a second for connections that exceed a time limit, so it may cut this
    # one a little late.
    await eventually(lambda: _is_cut(attacker), connections.HEADER_LIMIT_S + 10)


async def _is_cut(attacker: Attacker) -> bool:
    return not await attacker.send(b"1\r\nx\r\n")
