"""Parses DATABASE_URL, which names one Postgres or several, one of which is the primary.

    postgres://[user[:password]@]host[:port][,host[:port]…][/database][?options]

A directory of Unix sockets is named by an option: `postgres://user@/database?host=/run/postgresql`.
No error message shows any part of the URL (see `shared.url`).
"""

import os
import re
import shlex
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from shared.url import BrokenRule, host_and_port, port, refuse_unencoded

SCHEMES = ("postgres", "postgresql")
PORT = 5432
#: Largest connect time-out per host that DATABASE_URL may set, in seconds.
MAX_CONNECT_TIMEOUT_S = 60

_URL = re.compile(r"([a-z]+)://([^/?]*)(?:/([^?/]*))?(?:\?(.*))?")
_APPLICATION = re.compile(r"[A-Za-z0-9_.-]{1,30}")
#: Matches one session setting, `name=value`, in the URL's option `options`.
_SETTING = re.compile(r"([A-Za-z_][A-Za-z0-9_.]*)=(.*)")
_TLS_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_TLS_VERSIONS = ("TLSv1.2", "TLSv1.3")
#: Default location where the driver looks for the certificate of the certificate authority.
_OWN_CA = Path(os.path.expanduser("~/.postgresql/root.crt"))


@dataclass(frozen=True, slots=True)
class Target:
    """The parts of a parsed DATABASE_URL.

    None means that the URL does not set the value, so the default of the driver applies.
    """

    #: Each host, or directory of Unix sockets, with its port.
    hosts: tuple[tuple[str, int], ...]
    user: str | None
    password: str | None = field(repr=False)
    database: str | None
    #: Connect time-out for each host, in seconds.
    connect_timeout_s: float | None
    #: True if a standby is refused even if the URL names only one host. If it names several hosts,
    #: a standby is always refused.
    primary_only: bool
    #: Beginning of the application name that the server shows for the sessions.
    application: str
    #: Settings that are applied to each session, by name.
    settings: Mapping[str, str]
    #: Options of the driver for TLS. They may contain the password of a private key.
    tls: Mapping[str, str] = field(repr=False)


def check_url(url: str) -> str | None:
    """Return the rule that a DATABASE_URL or a file named in it breaks, or None if it is valid."""
    try:
        _check_files(parse(url).tls)
    except BrokenRule as rule:
        return str(rule)
    return None


def parse(url: str) -> Target:
    """Parse a DATABASE_URL. Raises BrokenRule if it is invalid."""
    refuse_unencoded(url)
    parts = _URL.fullmatch(url)
    if parts is None or parts[1] not in SCHEMES:
        raise BrokenRule("must begin with postgres:// and look like postgres://user:password@host:5432/name")
    _, authority, database, query = parts.groups(default="")
    login, _, hosts = authority.rpartition("@")
    user, _, password = login.partition(":")
    options = _options(query)
    return Target(
        hosts=tuple(host_and_port(each, PORT) for each in hosts.split(",")) if hosts else _sockets(options),
        user=_text(user) or None,
        password=_text(password) or None,
        database=_text(database) or None,
        connect_timeout_s=float(options.get("connect_timeout", 0)) or None,
        primary_only=options.get("target_session_attrs", "any") != "any",
        application=options.get("application_name", "often"),
        settings=_settings(options.get("options", "")),
        tls={name: value for name, value in options.items() if name in _TLS},
    )


def _text(quoted: str) -> str:
    text = unquote(quoted)
    if "\0" in text:
        raise BrokenRule("must not contain %00")
    return text


def _sockets(options: Mapping[str, str]) -> tuple[tuple[str, int], ...]:
    """Return the directory of Unix sockets, with its port.

    The URL names it in the option `host`, because it cannot be written in place of the host.
    """
    folder = options.get("host", "")
    if not folder.startswith("/"):
        raise BrokenRule("must name a host after '://' or '@', or a folder of sockets: ?host=/run/postgresql")
    return ((folder, port(options.get("port", str(PORT)))),)


def _one_of(*choices: str) -> Callable[[str], str]:
    def chosen(value: str) -> str:
        if value not in choices:
            raise BrokenRule(f"must be one of {', '.join(choices)}")
        return value

    return chosen


def _connect_timeout(value: str) -> str:
    if not re.fullmatch(r"[0-9]{1,9}", value) or int(value) > MAX_CONNECT_TIMEOUT_S:
        raise BrokenRule(f"must be a number of seconds from 0 to {MAX_CONNECT_TIMEOUT_S}")
    return value


def _application_name(value: str) -> str:
    if not _APPLICATION.fullmatch(value):
        raise BrokenRule("must have at most 30 letters, digits, dots, dashes or underscores")
    return value


def _channel_binding(value: str) -> str:
    if value == "require":
        raise BrokenRule(
            "must not be require, which the driver does not offer; write prefer, and sslmode=verify-full "
            "with sslrootcert to be sure of the server"
        )
    return _one_of("disable", "prefer")(value)


def _session_attributes(value: str) -> str:
    if value in ("standby", "read-only", "prefer-standby"):
        raise BrokenRule("must be read-write or primary: every process writes")
    return _one_of("any", "read-write", "primary")(value)


def _no_nul(value: str) -> str:
    return _text(value.replace("%", "%25"))


_TLS: Mapping[str, Callable[[str], str]] = {
    "ssl_max_protocol_version": _one_of(*_TLS_VERSIONS),
    "ssl_min_protocol_version": _one_of(*_TLS_VERSIONS),
    "sslcert": _no_nul,
    "sslcrl": _no_nul,
    "sslkey": _no_nul,
    "sslmode": _one_of(*_TLS_MODES),
    "sslnegotiation": _one_of("postgres", "direct"),
    "sslpassword": _no_nul,
    "sslrootcert": _no_nul,
}
_OPTIONS: Mapping[str, Callable[[str], str]] = {
    **_TLS,
    "application_name": _application_name,
    "channel_binding": _channel_binding,
    "client_encoding": _one_of("utf8", "UTF8", "utf-8", "UTF-8", "auto"),
    "connect_timeout": _connect_timeout,
    "gssencmode": _one_of("disable", "prefer"),
    "host": _no_nul,
    "load_balance_hosts": _one_of("disable"),
    "options": _no_nul,
    "port": _no_nul,
    "target_session_attrs": _session_attributes,
}
#: Options of libpq that are refused because they would have no effect, with the reason.
_NEEDLESS = {
    **dict.fromkeys(
        ("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"),
        "is not supported: every process detects a vanished server within 20 s by itself; leave it out",
    ),
    **dict.fromkeys(("dbname", "user", "password"), "must be written before '?'"),
}


def _options(query: str) -> dict[str, str]:
    """Parse and check the options after the '?' of a DATABASE_URL."""
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True, errors="replace"):
        if name in _NEEDLESS:
            raise BrokenRule(f"has an option {name}, which {_NEEDLESS[name]}")
        if name not in _OPTIONS:
            raise BrokenRule(f"has an unknown option after '?'; known options: {', '.join(sorted(_OPTIONS))}")
        if name in options:
            raise BrokenRule(f"has the option {name} twice")
        try:
            options[name] = _OPTIONS[name](value)
        except BrokenRule as rule:
            raise BrokenRule(f"has an option {name}, which {rule}") from None
    return {name: value for name, value in options.items() if value}


def _settings(text: str) -> dict[str, str]:
    """Parse the session settings in the URL's option `options`: `-c name=value -c name=value`."""
    rule = BrokenRule("has an option options, which must look like '-c name=value', percent-encoded")
    try:
        words = shlex.split(text)
    except ValueError:
        raise rule from None
    settings = {}
    for flag, setting in zip(words[::2], [*words[1::2], ""][: len(words[::2])], strict=True):
        found = _SETTING.fullmatch(setting)
        if flag != "-c" or found is None:
            raise rule
        settings[found[1]] = found[2]
    return settings


def _check_files(tls: Mapping[str, str]) -> None:
    """Load the TLS files that the driver will load, to notice a missing file at startup."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for name in ("sslrootcert", "sslcrl"):
        if name in tls:
            _load(name, lambda file=tls[name]: context.load_verify_locations(file))  # type: ignore[misc]
    if "sslcert" in tls:
        password = tls.get("sslpassword", "")
        key = tls.get("sslkey")
        _load("sslcert", lambda: context.load_cert_chain(tls["sslcert"], key, password=lambda: password))
    if tls.get("sslmode", "").startswith("verify-") and "sslrootcert" not in tls and not _OWN_CA.exists():
        raise BrokenRule(
            "must name the file of the CA's certificate with sslrootcert when sslmode is verify-ca or -full"
        )


def _load(name: str, load: Callable[[], None]) -> None:
    try:
        load()
    except (OSError, ValueError) as error:  # The TLS errors of Python are OSErrors
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
        raise BrokenRule(f"has an option {name}, whose file cannot be used: {reason}") from None
