"""Gives each container that shares the host's network a loopback address of its own, and tells them by DNS.

`take NAME PROGRAM…` becomes the program, `serve` answers DNS, `ask PORT PATH` asks the program of its own
container. Containers mount this one file, so it needs nothing but Python.
"""

import http.client
import os
import socket
import struct
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

#: All of 127.0.0.0/8 is this machine. .1 is the DNS server's, and `dns` in compose.yml.
SERVER = ("127.77.0.1", 53)
ADDRESSES = [f"127.77.1.{last}" for last in range(1, 255)]
#: Servers whose names Prometheus asks for; the services read theirs in /etc/hosts.
FIXED = {"alertmanager": ["127.77.0.6"]}
#: Names of sockets that stand for claims. The host's whole network sees them; they end with their process.
TAKEN, NAMED = "often-loopback-address/", "often-loopback-name/"
#: What the services listen on.
VARIABLES = ("OFTEN_METRICS_HOST", "OFTEN_API_HOST")

RECORD_A, CLASS_IN, NO_SUCH_NAME = 1, 1, 3


def take(name: str, program: list[str]) -> None:
    """Claim the first free address for one more container called `name`, and become its program."""
    address = next(one for one in ADDRESSES if _claim(f"{TAKEN}{one}"))
    _claim(f"{NAMED}{name}/{address}")
    os.environ.update(dict.fromkeys(VARIABLES, address))
    os.execvp(program[0], program)


def taken() -> dict[str, list[str]]:
    """The addresses that containers have now, by name."""
    by_name: dict[str, list[str]] = defaultdict(list)
    for line in Path("/proc/net/unix").read_text().splitlines():
        _, found, claim = line.partition(f"@{NAMED}")
        if found:
            name, _, address = claim.partition("/")
            by_name[name].append(address)
    return dict(by_name)


def serve() -> None:
    """Answer what Docker's own DNS server would."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(SERVER)
        while True:
            query, client = server.recvfrom(512)
            server.sendto(answer(query, taken() | FIXED), client)


def answer(query: bytes, addresses: Mapping[str, list[str]]) -> bytes:
    """The reply to one question (RFC 1035): every address of the name, or that there is no such name."""
    labels, at = [], 12
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode().lower())
        at += 1 + length
    kind, _ = struct.unpack_from("!HH", query, at + 1)
    known = addresses.get(".".join(labels), [])
    records = [
        b"\xc0\x0c" + struct.pack("!HHIH", RECORD_A, CLASS_IN, 0, 4) + socket.inet_aton(address)
        for address in known
        if kind == RECORD_A
    ]
    flags = 0x8480 | (query[2] & 1) << 8 | (0 if known else NO_SUCH_NAME)
    head = query[:2] + struct.pack("!HHHHH", flags, 1, len(records), 0, 0)
    return head + query[12 : at + 5] + b"".join(records)


def ask(port: int, path: str) -> bool:
    """Whether this container's own program answers well. Only its main process knows the address."""
    environment = Path("/proc/1/environ").read_text().split("\0")
    address = next(one.partition("=")[2] for one in environment if one.startswith(f"{VARIABLES[0]}="))
    connection = http.client.HTTPConnection(address, port, timeout=4)
    connection.request("GET", path)
    return connection.getresponse().status == http.client.OK


def _claim(name: str) -> bool:
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0{name}")
    except OSError:
        claim.close()
        return False
    claim.set_inheritable(True)
    claim.detach()  # stays open in the program
    return True


def main(verb: str = "", *arguments: str) -> int:
    match verb, arguments:
        case "take", (name, *program):
            take(name, program)
        case "serve", ():
            serve()
        case "ask", (port, path):
            return 0 if ask(int(port), path) else 1
    raise SystemExit(__doc__)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
