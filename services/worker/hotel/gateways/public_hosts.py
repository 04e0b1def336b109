"""An httpx transport that connects only to public addresses, for URLs that come from clients.

It resolves names itself and connects to exactly the address that it has checked, so a second DNS
response cannot redirect the connection to an internal host. TLS still verifies the certificate
against the name.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import httpcore
import httpx

from services.worker.hotel.gateways.provider import ProviderRefused, trusted

#: Maximum number of addresses of one name to which a connection is tried.
MAX_ADDRESSES = 4
#: Number of threads for looking up such names. A name server that belongs to a client may not
#: answer, and the lookup then blocks its thread for up to 30 s. The event loop's own threads, only
#: six on two cores, must not be blocked by this.
LOOKUP_THREADS = 16
#: IPv6 prefix under which a network without IPv4 reaches public IPv4 addresses (NAT64, RFC 6052).
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
#: Range of all global unicast IPv6 addresses (RFC 4291). IPv4-compatible (`::/96`), locally
#: translated (`64:ff9b:1::/48`), unique local (`fc00::/7`), site-local (`fec0::/10`) and other
#: special addresses are outside it.
UNICAST = ipaddress.IPv6Network("2000::/3")
#: IPv4 ranges that are not public but that Python's `is_global` does not exclude. They are listed
#: in IANA's registry of special-purpose addresses and in RFC 7526.
SPECIAL_V4 = tuple(ipaddress.IPv4Network(text) for text in ("192.0.0.0/24", "192.88.99.0/24"))
#: IPv6 ranges inside UNICAST that are not public: protocol assignments including Teredo, 6to4, and
#: two blocks for documentation.
SPECIAL_V6 = tuple(
    ipaddress.IPv6Network(text) for text in ("2001::/23", "2002::/16", "2001:db8::/32", "3fff::/20")
)


class PublicHosts(httpx.AsyncHTTPTransport):
    """An HTTP transport without the proxies and certificates that the environment configures.

    `besides` is one host and port that may have any address. A connection to another host raises
    ProviderRefused unless all addresses of the host's name are public.
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
    """Resolves a host name, refuses it if an address is not public, and connects to a public
    one.
    """

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
        for address in (await self._public_addresses(host, port, timeout))[:MAX_ADDRESSES]:
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
            raise httpcore.ConnectTimeout("the name lookup timed out") from None
        except (OSError, UnicodeError):
            raise httpcore.ConnectError("the name was not found") from None
        if not all(is_public(address) for address in addresses):
            raise ProviderRefused(f"{host} leads to an address that is not public")
        return addresses


def _found(host: str, port: int) -> list[str]:
    """Resolve the name. This blocks the thread.

    Raises OSError, or UnicodeError for a name that cannot exist in the DNS.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]


def is_public(address: str) -> bool:
    """Return True if the address is public, that is, leads to the same host from everywhere."""
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
    """Return the IPv4 address that is embedded in an IPv6 address, or None.

    This machine, or a NAT64 gateway of the network, would connect to that IPv4 address.
    """
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped
