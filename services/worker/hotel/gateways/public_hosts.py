"""Connections to public addresses only, for URLs that come from clients.

Names are looked up here and the address that was looked at is the one that is connected to, so that no second
answer of the DNS can lead elsewhere. TLS still asks for the name's certificate.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable

import httpcore
import httpx

from services.worker.hotel.gateways.provider import ProviderRefused, trusted

#: A name that leads to more is tried no further.
MOST_ADDRESSES = 4
#: RFC 6052.
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


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
        for address in (await _public_addresses(host, port, timeout))[:MOST_ADDRESSES]:
            try:
                return await super().connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


async def _public_addresses(host: str, port: int, timeout_s: float | None) -> list[str]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise httpcore.ConnectTimeout("the name was not looked up in time") from None
    except OSError:
        raise httpcore.ConnectError("the name was not found") from None
    addresses = [str(sockaddr[0]) for *_, sockaddr in found]
    if not all(_is_public(address) for address in addresses):
        raise ProviderRefused(f"{host} leads to an address that is not public")
    return addresses


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    carried = _carried(parsed) if isinstance(parsed, ipaddress.IPv6Address) else None
    return all(each.is_global and not each.is_multicast for each in (parsed, carried or parsed))


def _carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a gateway on the way may make of it."""
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
