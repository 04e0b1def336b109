"""Tests that the worker process refuses invalid settings."""

import os
import socket
import subprocess
import sys

from tests.platform import VAULT_KEYS


def test_a_taken_metrics_port_ends_the_worker_with_one_line_and_status_2(
    database_url: str, redis_url: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other_program:
        environment = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "OFTEN_VAULT_KEYS": VAULT_KEYS,
            "OFTEN_METRICS_PORT": str(other_program.getsockname()[1]),
        }
        ended = subprocess.run(
            [sys.executable, "-m", "services.worker"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr
    assert "worker: OFTEN_METRICS_HOST and OFTEN_METRICS_PORT: cannot listen on 127.0.0.1" in ended.stderr
