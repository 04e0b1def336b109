"""Picks free loopback ports, where possible the same as at the last start."""

import json
import random
import socket
from collections.abc import Mapping
from pathlib import Path

from local.errors import LaunchError

HOST = "127.0.0.1"
#: Ports to choose from. They are below the range that operating systems use for outgoing
#: connections, so no connection takes a picked port before its server starts.
RANGE = range(20_000, 32_768)
HIGHEST = 65_535


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # Servers set this option, too. With it, a port whose last connections are in TIME_WAIT
        # counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def pick(*names: str, preferred: Mapping[str, int] | None = None) -> dict[str, int]:
    """Pick a free port for each name, all different. A preferred port is used if it is free."""
    ports = {name: port for name, port in (preferred or {}).items() if name in names and is_free(port)}
    for name in names:
        while name not in ports:
            port = random.choice(RANGE)
            if port not in ports.values() and is_free(port):
                ports[name] = port
    return ports


def pick_again(file: Path, *names: str) -> dict[str, int]:
    """Pick ports like `pick`, store them in `file`, and prefer the stored ones at the
    next start.
    """
    remembered = json.loads(file.read_text()) if file.exists() else {}
    ports = pick(*names, preferred=remembered)
    file.write_text(json.dumps(ports, indent=2))
    return ports


def parse(text: str, variable: str) -> int:
    """Parse a port number in the setting `variable`. Raises LaunchError if it is not a
    valid port.
    """
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= HIGHEST):
        raise LaunchError(
            f"{variable} must be a port, a whole number from 1 to {HIGHEST}, not {text!r}. "
            f"For example: {variable}=8001 make run"
        )
    return int(text)


def demand(port: int, variable: str) -> int:
    """Return the port that the user requested. Raises LaunchError if another program uses it."""
    if not is_free(port):
        raise LaunchError(
            f"Port {port} is taken by another program. End that program, or choose another port: "
            f"{variable}={port + 1} make run"
        )
    return port
