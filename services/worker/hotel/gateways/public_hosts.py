"""Connections to public addresses only, for URLs that come from clients.

Names are looked up here and the address that was looked at is the one that is connected to, so that no second
answer of the DNS can lead elsewhere. TLS still asks for the name's certificate.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import httpcore
import httpx

from services.worker.hotel.gateways.provider import ProviderRefused, trusted

#: A name that leads to more is tried no further.
MOST_ADDRESSES = 4
#: A guest's name server may not answer, and a lookup holds its thread until the resolver gives up, up to
#: 30 s. These threads are for such names only: the event loop has six of its own on two cores.
LOOKUP_THREADS = 16
#: RFC 6052: how a network without IPv4 reaches public IPv4 addresses.
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
#: RFC 4291: all global unicast addresses are here. IPv4-compatible (`::/96`), translated (`64:ff9b:1::/48`),
#: unique local (`fc00::/7`), site-local (`fec0::/10`) and other special addresses are not.
UNICAST = ipaddress.IPv6Network("2000::/3")
#: What IANA's special-purpose registries and RFC 7526 list beside what `is_global` of this Python knows.
SPECIAL_V4 = tuple(ipaddress.IPv4Network(text) for text in ("192.0.0.0/24", "192.88.99.0/24"))
#: Protocol assignments with Teredo, 6to4, and two blocks of documentation.
SPECIAL_V6 = tuple(
    ipaddress.IPv6Network(text) for text in ("2001::/23", "2002::/16", "2001:db8::/32", "3fff::/20")
)


class PublicHosts(httpx.AsyncHTTPTransport):
    """As httpx's own transport, without the environment's proxies and certificates.

    `besides` is a host and port that may be anywhere. Other hosts raise ProviderRefused unless all addresses
    of their name are public.
    """

    def __init__(self, besides: tuple[str, int] | None = None) -> None:
        super().__init__(verify=trusted(), trust_env=False)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=trusted(),
            max_connections=100,
            max_keepalive_connections=20,
            keepalive_expiry=30,
            network_backend=_Connector(besides),
        )


class _Connector(httpcore.AnyIOBackend):
    """Looks names up, refuses, connects."""

    def __init__(self, besides: tuple[str, int] | None) -> None:
        super().__init__()
        self._besides = besides
        self._lookups = ThreadPoolExecutor(LOOKUP_THREADS, thread_name_prefix="lookup")

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        if (host, port) == self._besides:
            return await super().connect_tcp(host, port, timeout, local_address, socket_options)
        failure: Exception = httpcore.ConnectError("the name has no address")
        for address in (await self._public_addresses(host, port, timeout))[:MOST_ADDRESSES]:
            try:
                return await super().connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def _public_addresses(self, host: str, port: int, timeout_s: float | None) -> list[str]:
        lookup = asyncio.get_running_loop().run_in_executor(self._lookups, _found, host, port)
        try:
            async with asyncio.timeout(timeout_s):
                addresses = await lookup
        except TimeoutError:
            raise httpcore.ConnectTimeout("the name was not looked up in time") from None
        except (OSError, UnicodeError):
            raise httpcore.ConnectError("the name was not found") from None
        if not all(is_public(address) for address in addresses):
            raise ProviderRefused(f"{host} leads to an address that is not public")
        return addresses


def _found(host: str, port: int) -> list[str]:
    """Blocks; raises OSError, and UnicodeError for a name that the DNS cannot hold."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]


def is_public(address: str) -> bool:
    """Whether everybody on the internet reaches the same host under this address."""
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        carried = _carried(parsed)
        return _is_public_v6(parsed) if carried is None else _is_public_v4(carried)
    return _is_public_v4(parsed)


def _is_public_v4(address: ipaddress.IPv4Address) -> bool:
    special = any(address in network for network in SPECIAL_V4)
    return address.is_global and not address.is_multicast and not special


def _is_public_v6(address: ipaddress.IPv6Address) -> bool:
    special = any(address in network for network in SPECIAL_V6)
    return address in UNICAST and address.is_global and not special


def _carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that this machine, or the network's own gateway, makes of it."""
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped
