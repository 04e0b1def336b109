"""Picks loopback ports, and the same ones as last time where they are still free."""

import json
import random
import socket
from collections.abc import Mapping
from pathlib import Path

from local.errors import LaunchError

HOST = "127.0.0.1"
#: Below those that systems give to outgoing connections: until its server starts nobody takes one of these.
RANGE = range(20_000, 32_768)
HIGHEST = 65_535


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a port whose last connections still linger in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def pick(*names: str, preferred: Mapping[str, int] | None = None) -> dict[str, int]:
    """A free port for each name; no two are the same."""
    ports = {name: port for name, port in (preferred or {}).items() if name in names and is_free(port)}
    for name in names:
        while name not in ports:
            port = random.choice(RANGE)
            if port not in ports.values() and is_free(port):
                ports[name] = port
    return ports


def pick_again(file: Path, *names: str) -> dict[str, int]:
    """Like `pick`, and remembered in `file` for the next start."""
    remembered = json.loads(file.read_text()) if file.exists() else {}
    ports = pick(*names, preferred=remembered)
    file.write_text(json.dumps(ports, indent=2))
    return ports


def parse(text: str, variable: str) -> int:
    """Read a port from a setting. Raises LaunchError with the rule."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= HIGHEST):
        raise LaunchError(
            f"{variable} must be a port, a whole number from 1 to {HIGHEST}, not {text!r}. "
            f"For example: {variable}=8001 make run"
        )
    return int(text)


def demand(port: int, variable: str) -> int:
    """The port that a person asked for. Raises LaunchError when it is taken."""
    if not is_free(port):
        raise LaunchError(
            f"Port {port} is taken by another program. End that program, or choose another port: "
            f"{variable}={port + 1} make run"
        )
    return port
