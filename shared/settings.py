"""The platform's settings, read once from the environment by a service's `__main__`.

An application brings a class of its own (`Application.settings`), which is read from the same environment;
`Settings.of` returns it.
"""

import ipaddress
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit

from shared import applications, environment, quota_amounts, secret_key
from shared.environment import setting
from shared.errors import SettingsError
from shared.ledger import address as ledger_address
from shared.transport import address as redis_address

log = logging.getLogger(__name__)

S = TypeVar("S")

EVERY_SERVICE = ("api", "worker", "scheduler")
_CHOICES = {"log_format": ("json", "text")}
_RANGES = {"api_port": (0, 65_535), "metrics_port": (0, 65_535), "worker_threads": (1, 256)}
_RATES = ("rate_limit_user", "rate_limit_address", "rate_limit_sign_in")
#: Quotas and their highest amounts.
_QUOTAS = {"quota_priority": 9, "quota_tasks": 999_999_999, "quota_waiting": 999_999_999}
#: The form of a rate limit; applications use it too.
RATE = re.compile(r"[1-9][0-9]{0,8}/(second|minute|hour|day)")
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?")
#: Addresses of this machine, the only ones for which plain HTTP will do.
LOOPBACK = re.compile(r"http://(127\.0\.0\.1|localhost)(:[0-9]{1,5})?(/[!-~]*)?")
_HTTPS = re.compile(r"https://(\w[\w.-]{0,252}|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[!-~]*)?")
#: A name in DNS, or an address of IPv4 or IPv6.
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*|[0-9A-Fa-f:.]{2,45}")
_HOSTS = ("api_host", "metrics_host")
#: Shortest durations in seconds, and why.
_AT_LEAST = {
    "access_token_life": (1, "every session would end at once"),
    "refresh_token_life": (1, "every session would end at once"),
    "keep_alive": (1, "every request would open a connection"),
    "request_timeout": (1, "slower requests would all fail"),
    "audit_retention": (86_400, "acts of today would be gone tomorrow"),
    "stall_after": (10, "shorter pauses are no deaths"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What operators may set. Durations are written in seconds."""

    #: Postgres 18 or newer; several hosts are separated by commas, and the primary among them is used.
    database_url: str = setting(
        "DATABASE_URL", "", "postgres://user:password@host:5432/name", secret_of=EVERY_SERVICE
    )
    #: Redis 7 or Valkey 8, or newer. Queues live in one logical database, which no other program may use.
    redis_url: str = setting("REDIS_URL", "", "redis://user:password@host:6379/0", secret_of=EVERY_SERVICE)
    #: Signs access tokens. Required by the API only. After a change, clients renew their access tokens and
    #: sessions go on.
    secret_key: str = setting("SECRET_KEY", "", "at least 32 random characters", secret_of=("api",))
    #: Keys that seal sensitive fields, as `id:base64,id:base64`; the first one seals, all of them open.
    vault_keys: str = setting("OFTEN_VAULT_KEYS", "", secret_of=EVERY_SERVICE)
    #: Life of an access token. A session renews it with its refresh token.
    access_token_life: timedelta = setting("OFTEN_ACCESS_TOKEN_LIFE", timedelta(minutes=15))
    #: Life of a refresh token; a session that is not renewed for this long ends.
    refresh_token_life: timedelta = setting("OFTEN_REFRESH_TOKEN_LIFE", timedelta(days=14))
    #: Life of a session, however often it is renewed.
    session_life: timedelta = setting("OFTEN_SESSION_LIFE", timedelta(days=30))
    #: Names of the product and the company, separated by commas; new passwords must not consist of them.
    password_words: str = setting("OFTEN_PASSWORD_WORDS", "Often Tasks,Often Hotels")
    #: Address on which the API listens.
    api_host: str = setting("OFTEN_API_HOST", "127.0.0.1")
    #: Port on which the API listens.
    api_port: int = setting("OFTEN_API_PORT", 8000)
    #: Addresses and networks of the proxies in front of the API, separated by commas. What they say about the
    #: caller in X-Forwarded-For and X-Forwarded-Proto is believed; from others these headers are ignored.
    forwarded_allow_ips: str = setting("FORWARDED_ALLOW_IPS", "127.0.0.1")
    #: Largest request body; a batch may be 16 MiB.
    max_body_bytes: int = setting("OFTEN_MAX_BODY_BYTES", 1_048_576)
    #: Time limit of a request until its answer begins, reading the body included.
    request_timeout: timedelta = setting("OFTEN_REQUEST_TIMEOUT", timedelta(seconds=30))
    #: An idle connection to the API is closed after this long. Longer than the 60 s of most load balancers:
    #: otherwise they send requests on a connection that is being closed, and answer 502.
    keep_alive: timedelta = setting("OFTEN_KEEP_ALIVE", timedelta(seconds=75))
    #: After SIGTERM the API says for this long that it is not ready, and still serves, so that proxies can
    #: leave it. It needs up to 5 s more until it ends. `docker stop` waits for 10 s by default.
    drain: timedelta = setting("OFTEN_API_DRAIN", timedelta(seconds=3))
    #: Origins whose pages may call the API from a browser, as `https://app.example.com`, separated by commas.
    cors_origins: str = setting("OFTEN_CORS_ORIGINS", "")
    #: Requests of one signed-in user.
    rate_limit_user: str = setting("OFTEN_RATE_LIMIT_USER", "60000/minute")
    #: Requests of one address without valid credentials.
    rate_limit_address: str = setting("OFTEN_RATE_LIMIT_ADDRESS", "600/minute")
    #: Sign-ins and registrations of one address; each of them costs a password hash.
    rate_limit_sign_in: str = setting("OFTEN_RATE_LIMIT_SIGN_IN", "60/minute")
    #: Highest priority that a role may ask for, by role, as in `user=5,viewer=3`; or `none`.
    quota_priority: str = setting("OFTEN_QUOTA_PRIORITY", "user=5")
    #: Tasks that one account may submit in a minute, by role.
    quota_tasks: str = setting("OFTEN_QUOTA_TASKS", "user=10000")
    #: Tasks of one account that may wait at the same time, by role. A task that a worker has does not count.
    quota_waiting: str = setting("OFTEN_QUOTA_WAITING", "user=10000")
    #: How long the audit log is kept. Workers that serve the queue `maintenance` read it.
    audit_retention: timedelta = setting("OFTEN_AUDIT_RETENTION", timedelta(days=400))
    #: Address on which a process answers Prometheus; worker and scheduler answer health checks there too.
    metrics_host: str = setting("OFTEN_METRICS_HOST", "127.0.0.1")
    #: Port for the same; 0 lets the system choose one.
    metrics_port: int = setting("OFTEN_METRICS_PORT", 0)
    #: Format of log lines.
    log_format: str = setting("OFTEN_LOG_FORMAT", "json", "json or text")
    #: Queues that a worker serves, separated by commas; empty means every queue that a contract names, and
    #: `-email,-payments` all but these. The former names of a queue are served with it.
    worker_queues: str = setting("OFTEN_WORKER_QUEUES", "")
    #: Tasks that a worker runs at the same time.
    worker_threads: int = setting("OFTEN_WORKER_THREADS", 8)
    #: How long a stopping worker lets running tasks finish. It needs up to 5 s more until it ends; whatever
    #: stops it must wait for both. `docker stop` waits for 10 s by default.
    worker_grace: timedelta = setting("OFTEN_WORKER_GRACE", timedelta(seconds=5))
    #: A worker replaces itself after about this many tasks (±20 %); 0 switches this off.
    worker_max_tasks: int = setting("OFTEN_WORKER_MAX_TASKS", 100_000)
    #: A worker that grows beyond this replaces itself; 0 switches this off.
    worker_max_memory_mb: int = setting("OFTEN_WORKER_MAX_MEMORY_MB", 1_024)
    #: A worker without a heartbeat for this long is dead, even if it still holds its lock.
    stall_after: timedelta = setting("OFTEN_STALL_AFTER", timedelta(seconds=60))
    #: Address at which people reach the API; mails link to it.
    public_url: str = setting("OFTEN_PUBLIC_URL", "http://127.0.0.1:8000")
    #: Packages of the applications that run here, separated by commas.
    applications: str = setting(applications.VARIABLE, applications.DEFAULT)
    for_applications: Mapping[type[Any], Any] = field(default_factory=dict, repr=False)
    #: One line about variables of the environment that are not read; empty when there are none.
    ignored: str = field(default="", repr=False)

    def warn_of_ignored(self) -> None:
        """Log variables that have no effect; one of them may be a misspelled setting."""
        if self.ignored:
            log.warning(self.ignored)

    def of(self, kind: type[S]) -> S:
        """The settings of one application; its defaults where none were read."""
        found: S = self.for_applications[kind] if kind in self.for_applications else kind()
        return found

    def refused_words(self) -> list[str]:
        """The words that new passwords must not consist of."""
        return [word for word in (part.strip() for part in self.password_words.split(",")) if word]

    @property
    def origins(self) -> list[str]:
        """The origins of `cors_origins`."""
        return [each.strip() for each in self.cors_origins.split(",") if each.strip()]

    def broken_rules(self) -> Iterator[tuple[str, str]]:
        """Field and rule, for each rule that is broken."""
        if self.database_url and (broken := ledger_address.check_url(self.database_url)):
            yield "database_url", broken
        if self.redis_url and (broken := redis_address.check_url(self.redis_url)):
            yield "redis_url", broken
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                yield name, f"must be one of {', '.join(choices)}, not {getattr(self, name)!r}"
        for name, (lowest, highest) in _RANGES.items():
            if not lowest <= getattr(self, name) <= highest:
                yield name, f"must be between {lowest} and {highest}, not {getattr(self, name)}"
        yield from self._too_weak()
        yield from self._bad_quotas()
        yield from self._bad_addresses()

    def _too_weak(self) -> Iterator[tuple[str, str]]:
        for name in _RATES:
            if problem := rate_problem(getattr(self, name)):
                yield name, problem
        if self.secret_key and (weakness := secret_key.weakness(self.secret_key)):
            yield "secret_key", weakness
        if self.session_life < self.access_token_life:
            yield "session_life", "must not be shorter than OFTEN_ACCESS_TOKEN_LIFE"
        for name, (least_s, why) in _AT_LEAST.items():
            if getattr(self, name) < timedelta(seconds=least_s):
                yield name, f"must be at least {least_s} second{'s' * (least_s > 1)}: {why}"

    def _bad_quotas(self) -> Iterator[tuple[str, str]]:
        for name, highest in _QUOTAS.items():
            if problem := quota_amounts.problem(getattr(self, name), highest):
                yield name, problem

    def _bad_addresses(self) -> Iterator[tuple[str, str]]:
        for name in _HOSTS:
            if not _HOST.fullmatch(getattr(self, name)):
                yield name, f"must be a host name or an address, not {getattr(self, name)[:40]!r}"
        if problem := url_problem(self.public_url):
            yield "public_url", problem
        for proxy in self.forwarded_allow_ips.split(","):
            if problem := proxy_problem(proxy.strip()):
                yield "forwarded_allow_ips", problem
        for origin in self.origins:
            if not _ORIGIN.fullmatch(origin):
                yield "cors_origins", f"must name origins like https://app.example.com, not {origin!r}"


def proxy_problem(proxy: str) -> str | None:
    """The rule that the address or network of a trusted proxy breaks, if any.

    A trusted proxy chooses the address under which its requests are counted.
    """
    try:
        network = ipaddress.ip_network(proxy)
    except ValueError:
        network = None
    if network is not None and network.prefixlen > 0:
        return None
    return (
        "must name the proxies in front of the API, like 10.0.0.7 or 10.0.0.0/24, not "
        f"{proxy[:40]!r}: a client that is believed could send any address as its own"
    )


def rate_problem(rate: str) -> str | None:
    """The rule that a rate limit breaks, if any."""
    if RATE.fullmatch(rate):
        return None
    return f"must be like 600/minute (second, minute, hour, day), not {rate!r}"


def url_problem(url: str) -> str | None:
    """The rule that a web address breaks, if any: plain HTTP is for this machine only."""
    if (LOOPBACK.fullmatch(url) or _HTTPS.fullmatch(url)) and _port_is_valid(url):
        return None
    return "must begin with https:// and a host, like https://example.com; plain http is for this machine"


def _port_is_valid(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def read(environ: Mapping[str, str], *, needs: tuple[str, ...] = ("database_url", "redis_url")) -> Settings:
    """Read the environment; `needs` names the fields that this process cannot do without.

    Raises SettingsError, naming variable and rule, for the first broken rule.
    """
    names = environ.get(applications.VARIABLE, applications.DEFAULT)
    found = applications.find(names)
    kinds = [applications.resolve(each.settings) for each in found if each.settings]
    ignored = environment.ignored(environ, [Settings, *kinds])
    try:
        given = {kind: environment.read(kind, environ) for kind in kinds}
        return environment.read(
            Settings, environ, needs, applications=names, for_applications=given, ignored=ignored
        )
    except SettingsError as error:
        # A setting that seems to be missing may be there under a misspelled name.
        raise SettingsError(f"{error} ({ignored})" if ignored else str(error)) from None
