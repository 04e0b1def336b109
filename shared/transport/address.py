"""Parses REDIS_URL, which names one server, or several Sentinels that know which server is the
primary.

    redis://[[user]:password@]host[:port][/database][?options]
    redis+sentinel://[[user]:password@]host[:port][,host[:port]…]/service[/database][?options]

The scheme `rediss` instead of `redis` selects TLS. No error message shows any part of the URL (see
`shared.url`).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from shared.url import BrokenRule, host_and_port, refuse_unencoded

SCHEMES = ("redis", "rediss", "redis+sentinel", "rediss+sentinel")
REDIS_PORT, SENTINEL_PORT = 6379, 26379

_URL = re.compile(r"([a-z+]+)://([^/?]*)(/[^?]*)?(?:\?(.*))?")
_SERVICE = re.compile(r"[A-Za-z0-9_.-]+")
_DATABASE = re.compile(r"[0-9]{1,9}")


def _yes_or_no(text: str) -> bool:
    return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[text.lower()]


def _certificate_rule(text: str) -> str:
    return {"none": "none", "optional": "optional", "required": "required"}[text]


_TLS_OPTIONS: Mapping[str, Callable[[str], Any]] = {
    "ssl_ca_certs": str,
    "ssl_cert_reqs": _certificate_rule,
    "ssl_certfile": str,
    "ssl_check_hostname": _yes_or_no,
    "ssl_keyfile": str,
}
_SENTINEL_OPTIONS: Mapping[str, Callable[[str], Any]] = {"sentinel_password": str, "sentinel_username": str}
_OPTIONS: Mapping[str, Callable[[str], Any]] = {"client_name": str, "max_connections": int}


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed REDIS_URL."""

    #: Host and port of the server, or of each Sentinel.
    hosts: tuple[tuple[str, int], ...]
    #: The service name under which the Sentinels know the primary. None if the URL names a server
    #: directly.
    service: str | None
    tls: bool
    #: redis-py's arguments for each connection to the server. They may contain the password.
    options: Mapping[str, Any] = field(repr=False)
    #: redis-py's arguments for each connection to a Sentinel.
    sentinel_options: Mapping[str, Any] = field(repr=False)


def check_url(url: str) -> str | None:
    """The rule that a REDIS_URL breaks, or None if it is valid."""
    try:
        parse(url)
    except BrokenRule as rule:
        return str(rule)
    return None


def parse(url: str) -> Target:
    """Parse a REDIS_URL. Raises BrokenRule."""
    refuse_unencoded(url)
    parts = _URL.fullmatch(url)
    if parts is None or parts[1] not in SCHEMES:
        raise BrokenRule(f"must begin with one of {', '.join(f'{scheme}://' for scheme in SCHEMES)}")
    scheme, authority, path, query = parts.groups(default="")
    tls, sentinel = scheme.startswith("rediss"), scheme.endswith("+sentinel")
    login, at, hosts = authority.rpartition("@")
    service, database = _path(path[1:], sentinel)
    options, sentinel_options = _options(query, tls, sentinel)
    if at:
        user, colon, password = login.partition(":")
        if not colon:
            raise BrokenRule("must have a ':' before the password: redis://:password@host:6379/0")
        options |= {"username": unquote(user) or None, "password": unquote(password) or None}
    return Target(_hosts(hosts, sentinel), service, tls, options | {"db": database}, sentinel_options)


def _hosts(text: str, sentinel: bool) -> tuple[tuple[str, int], ...]:
    default_port = SENTINEL_PORT if sentinel else REDIS_PORT
    hosts = tuple(host_and_port(each, default_port) for each in text.split(","))
    if len(hosts) > 1 and not sentinel:
        raise BrokenRule(
            "must name one host; to follow a failover, name Sentinels: "
            "redis+sentinel://:password@host1:26379,host2:26379/service/0"
        )
    return hosts


def _path(path: str, sentinel: bool) -> tuple[str | None, int]:
    """Parse the path of the URL: the service name of the Sentinels, if there are any, and the
    database number.
    """
    service: str | None = None
    if sentinel:
        service, _, path = path.partition("/")
        if not _SERVICE.fullmatch(service):
            raise BrokenRule("must name the service that the Sentinels watch, for example host:26379/service")
    if path and not _DATABASE.fullmatch(path):
        raise BrokenRule("must end with the number of a database, for example /0")
    return service, int(path or 0)


def _option(name: str, value: str, known: Mapping[str, Callable[[str], Any]]) -> Any:
    if name not in known and name in _TLS_OPTIONS:
        raise BrokenRule("must begin with rediss:// to have options for TLS")
    if name not in known:
        raise BrokenRule(f"has an unknown option after '?'; known options: {', '.join(sorted(known))}")
    try:
        return known[name](value)
    except (KeyError, ValueError):
        raise BrokenRule(f"has a wrong value for its option {name}") from None


def _options(query: str, tls: bool, sentinel: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parse the query of the URL: the options for connections to the server, and those for
    connections to Sentinels.
    """
    known = {**_OPTIONS, **(_TLS_OPTIONS if tls else {}), **(_SENTINEL_OPTIONS if sentinel else {})}
    pairs = parse_qsl(query, keep_blank_values=True)
    given = {name: _option(name, value, known) for name, value in pairs}
    own = {name.removeprefix("sentinel_"): given.pop(name) for name in _SENTINEL_OPTIONS if name in given}
    return given, own | {name: value for name, value in given.items() if name in _TLS_OPTIONS}
