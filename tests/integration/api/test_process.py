"""Tests of the API process as operators start and stop it."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

from tests.eventually import eventually
from tests.platform import VAULT_KEYS


def _start(**environment: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "services.api"]
    inherited = {"PATH": os.environ["PATH"]}
    return subprocess.Popen(command, env=inherited | environment, stderr=subprocess.PIPE, text=True)


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200
    except httpx.TransportError:
        return False


async def test_it_serves_and_stops_in_order(database_url: str, redis_url: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = _start(
        DATABASE_URL=database_url,
        REDIS_URL=redis_url,
        SECRET_KEY=secrets.token_hex(32),
        OFTEN_API_PORT=str(port),
        OFTEN_API_DRAIN="0",
        OFTEN_VAULT_KEYS=VAULT_KEYS,
    )
    try:
        await eventually(lambda: _ready(port))
        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == 0, log
    assert time.monotonic() - asked < 5


@pytest.mark.parametrize(
    ("environment", "variable"),
    [
        ({}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgres://x", "REDIS_URL": "redis://x"}, "SECRET_KEY"),
        ({"OFTEN_API_PROT": "1"}, "OFTEN_API_PORT"),
        (
            {
                "DATABASE_URL": "postgres://x",
                "REDIS_URL": "redis://:a#b@x",
                "SECRET_KEY": secrets.token_hex(),
            },
            "REDIS_URL",
        ),
    ],
)
def test_a_wrong_setting_is_reported_in_one_line_with_status_2(
    environment: dict[str, str], variable: str
) -> None:
    process = _start(**environment)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said.count("\n")) == (2, 1)
    assert variable in said
