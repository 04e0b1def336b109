"""The containers of docker-compose.yml on the loopback: starts them, looks into them, takes them down."""

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
#: Keeps containers and volumes apart from those of `make up`, and images by their tag.
PROJECT = TAG = "often-loopback"
FILES = ("docker-compose.yml", "deploy/loopback/compose.yml")
POLL_S = 0.2


class Failed(Exception):
    """Something is not as it should be."""


def docker(*arguments: str, given: str | None = None, limit_s: float = 60) -> str:
    """Run `docker` and return what it prints. Raises Failed with its own words."""
    return _run(["docker", *arguments], given=given, limit_s=limit_s)


def succeeds(*arguments: str) -> bool:
    """Whether this `docker` command does."""
    try:
        docker(*arguments)
    except Failed:
        return False
    return True


def compose(*arguments: str, files: tuple[str, ...] = FILES, limit_s: float = 180) -> str:
    """Run compose on the files; as `docker compose`, or whatever COMPOSE names. Raises Failed."""
    named = [part for file in files for part in ("--file", file)]
    command = os.environ.get("COMPOSE", "docker compose").split()
    quiet = ("--ansi", "never", "--progress", "quiet")
    return _run([*command, *quiet, "--project-name", PROJECT, *named, *arguments], limit_s=limit_s)


def make_secrets() -> None:
    SECRETS.mkdir(parents=True, exist_ok=True)
    _run([str(ROOT / "deploy/make_secrets.sh"), str(SECRETS)])


def containers(service: str) -> list[str]:
    """Ids of the running ones."""
    return compose("ps", "--quiet", service).split()


def inspect(container_or_image: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(docker("inspect", container_or_image))
    return found[0]


def logs(running: str) -> str:
    """All that a container has said, on both of its outputs."""
    return _run(["sh", "-c", 'docker logs "$0" 2>&1', running])


def environment(running: str) -> dict[str, str]:
    """Of a container's main process."""
    entries = docker("exec", running, "cat", "/proc/1/environ").split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)


def image(service: str) -> str:
    return f"often-tasks-{service}:{TAG}"


def query(statement: str) -> list[list[str]]:
    """Ask the ledger; rows of texts."""
    psql = ("psql", "-XAt", "-h", "/var/run/postgresql", "-U", "often", "-c", statement)
    return [line.split("|") for line in compose("exec", "-T", "postgres", *psql).splitlines()]


def take_down() -> None:
    """Containers and volumes; images stay for the next try."""
    compose("down", "--volumes", "--remove-orphans", "--timeout", "10")


def state() -> str:
    """Of all containers, with what they said last; for who looks for the cause of a failure."""
    return compose("ps", "--all") + compose("logs", "--no-color", "--tail=20")


def expect(what: str, seen: object, wanted: object) -> None:
    """Raises Failed unless it is so."""
    if seen != wanted:
        raise Failed(f"{what}: {seen}, not {wanted}")


def until(found: Callable[[], T | None], what: str, limit_s: float) -> T:
    """What `found` returns once it is true. Raises Failed after the limit."""
    deadline = time.monotonic() + limit_s
    while not (value := found()):
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {limit_s:.0f} s")
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
        raise Failed(f"{' '.join(command)}: not done within {limit_s:.0f} s") from None
    if ended.returncode:
        raise Failed(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}")
    return ended.stdout
