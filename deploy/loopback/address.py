"""Gives each container on the host's network a loopback address of its own, and publishes the
addresses over DNS.

`take NAME PROGRAM…` claims an address and then becomes the program, `serve` answers DNS questions,
and `ask PORT PATH` requests a page from the container's own program. Every container mounts this
file, so it needs nothing but Python.
"""

import http.client
import os
import socket
import struct
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

#: Address of the DNS server, the same as `dns` in compose.yml. Every address in 127.0.0.0/8 belongs
#: to this machine.
SERVER = ("127.77.0.1", 53)
ADDRESSES = [f"127.77.1.{last}" for last in range(1, 255)]
#: Fixed addresses of containers that Prometheus finds by DNS. The other services find their servers
#: in /etc/hosts instead.
FIXED = {"alertmanager": ["127.77.0.6"]}
#: Name prefixes of the abstract Unix sockets by which a container claims its address and name. The
#: whole host network sees such sockets, and the kernel removes them when their process ends.
TAKEN, NAMED = "often-loopback-address/", "often-loopback-name/"
#: Environment variables that set the address on which a service listens.
VARIABLES = ("OFTEN_METRICS_HOST", "OFTEN_API_HOST")

RECORD_A, CLASS_IN, NO_SUCH_NAME = 1, 1, 3


def take(name: str, program: list[str]) -> None:
    """Claim the first free address for the container `name`, then replace this process by the
    container's program.
    """
    address = next(one for one in ADDRESSES if _claim(f"{TAKEN}{one}"))
    _claim(f"{NAMED}{name}/{address}")
    os.environ.update(dict.fromkeys(VARIABLES, address))
    os.execvp(program[0], program)


def taken() -> dict[str, list[str]]:
    """Returns the claimed addresses, by the name of the container."""
    by_name: dict[str, list[str]] = defaultdict(list)
    for line in Path("/proc/net/unix").read_text().splitlines():
        _, found, claim = line.partition(f"@{NAMED}")
        if found:
            name, _, address = claim.partition("/")
            by_name[name].append(address)
    return dict(by_name)


def serve() -> None:
    """Answer DNS questions about containers, as Docker's own DNS server would."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(SERVER)
        while True:
            query, client = server.recvfrom(512)
            server.sendto(answer(query, taken() | FIXED), client)


def answer(query: bytes, addresses: Mapping[str, list[str]]) -> bytes:
    """The reply to a DNS question (RFC 1035): every address of the requested name, or an error if
    the name does not exist.
    """
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
    """Whether this container's own program answers a GET request with 200.

    The address on which it listens is known only to the container's main process, so it is read
    from that process' environment.
    """
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
    claim.detach()  # keeps the claim's socket open in the program that replaces this process
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
