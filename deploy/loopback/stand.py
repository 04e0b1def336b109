"""Starts, inspects and removes the containers of docker-compose.yml, which all run on the
loopback.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
SECRETS = ROOT / "var/loopback/secrets"
#: Name of the compose project, and tag of the images. They differ from those of `make up`, so that
#: the two systems do not mix.
PROJECT = TAG = "often-loopback"
FILES = ("docker-compose.yml", "deploy/loopback/compose.yml")
POLL_S = 0.2


class Failed(Exception):
    """Raised when a check of the running system fails."""


def docker(*arguments: str, given: str | None = None, limit_s: float = 60) -> str:
    """Run a `docker` command and return its output. Raises Failed with docker's error output."""
    return _run(["docker", *arguments], given=given, limit_s=limit_s)


def succeeds(*arguments: str) -> bool:
    """Whether this `docker` command ends with exit code 0."""
    try:
        docker(*arguments)
    except Failed:
        return False
    return True


def compose(*arguments: str, files: tuple[str, ...] = FILES, limit_s: float = 180) -> str:
    """Run a compose command for the files of this test. Raises Failed if the command fails.

    The command is `docker compose`, or the one in the environment variable COMPOSE.
    """
    named = [part for file in files for part in ("--file", file)]
    command = os.environ.get("COMPOSE", "docker compose").split()
    quiet = ("--ansi", "never", "--progress", "quiet")
    return _run([*command, *quiet, "--project-name", PROJECT, *named, *arguments], limit_s=limit_s)


def make_secrets() -> None:
    SECRETS.mkdir(parents=True, exist_ok=True)
    _run([str(ROOT / "deploy/make_secrets.sh"), str(SECRETS)])


def containers(service: str) -> list[str]:
    """Ids of the running containers of a service."""
    return compose("ps", "--quiet", service).split()


def inspect(container_or_image: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(docker("inspect", container_or_image))
    return found[0]


def logs(running: str) -> str:
    """The log of a container: everything written to its standard output and standard error."""
    return _run(["sh", "-c", 'docker logs "$0" 2>&1', running])


def environment(running: str) -> dict[str, str]:
    """The environment variables of a container's main process."""
    entries = docker("exec", running, "cat", "/proc/1/environ").split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)


def image(service: str) -> str:
    return f"often-tasks-{service}:{TAG}"


def query(statement: str) -> list[list[str]]:
    """Run an SQL query in the system's database. Returns the rows, with all values as text."""
    psql = ("psql", "-XAt", "-h", "/var/run/postgresql", "-U", "often", "-c", statement)
    return [line.split("|") for line in compose("exec", "-T", "postgres", *psql).splitlines()]


def take_down() -> None:
    """Remove the containers and volumes. The images stay for the next run."""
    compose("down", "--volumes", "--remove-orphans", "--timeout", "10")


def state() -> str:
    """The state and the last output of all containers, as text that helps to find the cause of a
    failure.
    """
    return compose("ps", "--all") + compose("logs", "--no-color", "--tail=20")


def expect(what: str, seen: object, wanted: object) -> None:
    """Raise Failed unless `seen` equals `wanted`. `what` names the checked value in the message."""
    if seen != wanted:
        raise Failed(f"{what}: {seen}, not {wanted}")


def until(found: Callable[[], T | None], what: str, limit_s: float) -> T:
    """Call `found` repeatedly until it returns a true value, and return that value.

    `what` is a sentence that is true then. Raises Failed after `limit_s` seconds.
    """
    deadline = time.monotonic() + limit_s
    while not (value := found()):
        if time.monotonic() > deadline:
            raise Failed(f"still not true after {limit_s:.0f} s: {what}")
        time.sleep(POLL_S)
    return value


def _run(command: list[str], *, given: str | None = None, limit_s: float = 60) -> str:
    try:
        ended = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "TAG": TAG, "SECRETS_DIR": str(SECRETS)},
            input=given,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(command)} did not end within {limit_s:.0f} s") from None
    if ended.returncode:
        raise Failed(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}")
    return ended.stdout
