"""The platform's settings, read once from the environment by a service's `__main__`.

An application defines its own settings class (`Application.settings`), which is read from the same
environment; `Settings.of` returns it.
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
_CHOICES = {
    "log_format": ("json", "text"),
    "tracing": ("off", "on"),
    "trace_callers": ("link", "follow"),
    "trace_retries": ("off", "on"),
}
_RANGES = {"api_port": (0, 65_535), "metrics_port": (0, 65_535), "worker_threads": (1, 256)}
_RATES = ("rate_limit_user", "rate_limit_address", "rate_limit_sign_in")
#: Names of the settings that are quotas, with the largest limit that each accepts for a role.
_QUOTAS = {"quota_priority": 9, "quota_tasks": 999_999_999, "quota_waiting": 999_999_999}
#: Format of a rate limit setting, such as `600/minute`. Applications use it for their settings too.
RATE = re.compile(r"[1-9][0-9]{0,8}/(second|minute|hour|day)")
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?")
#: Addresses of this machine. They are the only ones for which plain HTTP is allowed in a setting.
LOOPBACK = re.compile(r"http://(127\.0\.0\.1|localhost)(:[0-9]{1,5})?(/[!-~]*)?")
_HTTPS = re.compile(r"https://(\w[\w.-]{0,252}|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[!-~]*)?")
#: Format of the setting `trace_url`. Plain HTTP is allowed, because people open the address in
#: their own browser, inside their network.
_TRACE_URL = re.compile(r"https?://[!-z]+\{trace_id\}[!-z]*")
_TRACE_URL_LIKE = "https://traces.example.com/trace/{trace_id}"
#: Format of a host: a DNS name, or an IPv4 or IPv6 address.
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*|[0-9A-Fa-f:.]{2,45}")
_HOSTS = ("api_host", "metrics_host")
#: Minimum values of duration settings in seconds, with the text that an error message gives as the
#: reason.
_AT_LEAST = {
    "access_token_life": (1, "every session would end at once"),
    "refresh_token_life": (1, "every session would end at once"),
    "keep_alive": (1, "every request would open a connection"),
    "request_timeout": (1, "slower requests would all fail"),
    "audit_retention": (86_400, "today's entries would be deleted tomorrow"),
    "stall_after": (10, "a worker that pauses for less is not dead"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The platform's settings, which operators set as environment variables. Durations are written
    in seconds.
    """

    #: Address of Postgres 18 or newer. If it lists several hosts, separated by commas, the primary
    #: among them is used.
    database_url: str = setting(
        "DATABASE_URL", "", "postgres://user:password@host:5432/name", secret_of=EVERY_SERVICE
    )
    #: Address of Redis 7, Valkey 8, or a newer version. The task queues occupy one logical
    #: database, which no other program may use.
    redis_url: str = setting("REDIS_URL", "", "redis://user:password@host:6379/0", secret_of=EVERY_SERVICE)
    #: Key that signs access tokens. Only the API requires it. When it is changed, clients must
    #: renew their access tokens, but sessions continue.
    secret_key: str = setting("SECRET_KEY", "", "at least 32 random characters", secret_of=("api",))
    #: Keys that encrypt sensitive fields, in the form `id:base64,id:base64`. The first key
    #: encrypts, and all keys decrypt.
    vault_keys: str = setting("OFTEN_VAULT_KEYS", "", secret_of=EVERY_SERVICE)
    #: Lifetime of an access token. A client gets a new one with the refresh token of its session.
    access_token_life: timedelta = setting("OFTEN_ACCESS_TOKEN_LIFE", timedelta(minutes=15))
    #: Lifetime of a refresh token. A session that is not renewed for this long ends.
    refresh_token_life: timedelta = setting("OFTEN_REFRESH_TOKEN_LIFE", timedelta(days=14))
    #: Maximum lifetime of a session, however often its tokens are renewed.
    session_life: timedelta = setting("OFTEN_SESSION_LIFE", timedelta(days=30))
    #: Names of the product and the company, separated by commas. New passwords that consist of such
    #: words are refused.
    password_words: str = setting("OFTEN_PASSWORD_WORDS", "Often Tasks,Often Hotels")
    #: Address on which the API listens.
    api_host: str = setting("OFTEN_API_HOST", "127.0.0.1")
    #: Port on which the API listens.
    api_port: int = setting("OFTEN_API_PORT", 8000)
    #: Addresses and networks of the proxies in front of the API, separated by commas. The API
    #: believes the headers X-Forwarded-For and X-Forwarded-Proto, which describe the original
    #: client, only if they come from these addresses.
    forwarded_allow_ips: str = setting("FORWARDED_ALLOW_IPS", "127.0.0.1")
    #: Maximum size of a request body in bytes. Requests that submit a batch of tasks may have 16
    #: MiB instead.
    max_body_bytes: int = setting("OFTEN_MAX_BODY_BYTES", 1_048_576)
    #: Time limit of a request until the API begins to answer, including the time to read the
    #: request's body.
    request_timeout: timedelta = setting("OFTEN_REQUEST_TIMEOUT", timedelta(seconds=30))
    #: How long the API keeps an idle connection open. It is longer than the 60 s of most load
    #: balancers. Otherwise, a load balancer might send a request on a connection that the API is
    #: closing, and answer 502.
    keep_alive: timedelta = setting("OFTEN_KEEP_ALIVE", timedelta(seconds=75))
    #: How long the API continues to serve after SIGTERM while its health check reports that it is
    #: not ready, so that proxies can stop using it. After that, it takes up to 5 s to stop. `docker
    #: stop` waits for 10 s by default.
    drain: timedelta = setting("OFTEN_API_DRAIN", timedelta(seconds=3))
    #: Web origins whose pages may call the API from a browser (CORS), such as
    #: `https://app.example.com`, separated by commas.
    cors_origins: str = setting("OFTEN_CORS_ORIGINS", "")
    #: Maximum number of API requests of one signed-in user per time unit.
    rate_limit_user: str = setting("OFTEN_RATE_LIMIT_USER", "60000/minute")
    #: Maximum number of API requests from one address without valid credentials per time unit.
    rate_limit_address: str = setting("OFTEN_RATE_LIMIT_ADDRESS", "600/minute")
    #: Maximum number of sign-ins and registrations from one address per time unit. Each of them
    #: computes an expensive password hash.
    rate_limit_sign_in: str = setting("OFTEN_RATE_LIMIT_SIGN_IN", "60/minute")
    #: Highest priority that each role may request, as in `user=5,viewer=3`; or `none` for no limit.
    quota_priority: str = setting("OFTEN_QUOTA_PRIORITY", "user=5")
    #: Maximum number of tasks that one account may submit per minute, by role.
    quota_tasks: str = setting("OFTEN_QUOTA_TASKS", "user=10000")
    #: Maximum number of waiting tasks of one account, by role. A task that a worker holds does not
    #: count.
    quota_waiting: str = setting("OFTEN_QUOTA_WAITING", "user=10000")
    #: How long entries of the audit log are kept. Workers that serve the queue `maintenance` delete
    #: older ones.
    audit_retention: timedelta = setting("OFTEN_AUDIT_RETENTION", timedelta(days=400))
    #: Address on which a process serves metrics for Prometheus. The worker and the scheduler also
    #: serve health checks there.
    metrics_host: str = setting("OFTEN_METRICS_HOST", "127.0.0.1")
    #: Port on which a process serves metrics. If it is 0, the operating system chooses one.
    metrics_port: int = setting("OFTEN_METRICS_PORT", 0)
    #: Format of log lines: `json` or `text`.
    log_format: str = setting("OFTEN_LOG_FORMAT", "json", "json or text")
    #: Whether traces of sampled requests, schedules and tasks are sent to an OpenTelemetry
    #: collector. This needs the package's extra `tracing`. The standard variables of OpenTelemetry
    #: (`OTEL_...`) define the collector and the sampled share.
    tracing: str = setting("OFTEN_TRACING", "off", "off or on")
    #: How the API treats the header `traceparent` of a request. With `link`, its own trace only
    #: links to the caller's trace. With `follow`, it continues the caller's trace, and the caller
    #: decides whether it is sampled. Follow callers only if you trust them all.
    trace_callers: str = setting("OFTEN_TRACE_CALLERS", "link", "link or follow")
    #: Whether each attempt that follows a failed attempt is traced, even if its task was not
    #: sampled.
    trace_retries: str = setting("OFTEN_TRACE_RETRIES", "off", "off or on")
    #: Template for links from the console to a trace, in which `{trace_id}` is replaced. If it is
    #: empty, the console shows no links.
    trace_url: str = setting("OFTEN_TRACE_URL", "", _TRACE_URL_LIKE)
    #: Names of the queues that a worker serves, separated by commas. Empty means every queue that a
    #: contract names; `-email,-payments` means all queues except these two. Former names of a queue
    #: are served together with it.
    worker_queues: str = setting("OFTEN_WORKER_QUEUES", "")
    #: Maximum number of tasks that a worker runs at the same time.
    worker_threads: int = setting("OFTEN_WORKER_THREADS", 8)
    #: How long a stopping worker lets running tasks finish. After that, the worker takes up to 5 s
    #: to stop. The process manager must wait for the sum of both times before it kills the worker.
    #: `docker stop` waits for 10 s by default.
    worker_grace: timedelta = setting("OFTEN_WORKER_GRACE", timedelta(seconds=5))
    #: Number of tasks after which a worker replaces itself with a new process, varied at random by
    #: ±20 %. 0 means never.
    worker_max_tasks: int = setting("OFTEN_WORKER_MAX_TASKS", 100_000)
    #: Memory in MB beyond which a worker replaces itself with a new process. 0 means never.
    worker_max_memory_mb: int = setting("OFTEN_WORKER_MAX_MEMORY_MB", 1_024)
    #: How long a worker may be without a heartbeat before it is declared dead, even if it still
    #: holds its advisory lock.
    stall_after: timedelta = setting("OFTEN_STALL_AFTER", timedelta(seconds=60))
    #: Public address of the API, which links in mails contain.
    public_url: str = setting("OFTEN_PUBLIC_URL", "http://127.0.0.1:8000")
    #: Names of the Python packages of the applications that run on this platform, separated by
    #: commas.
    applications: str = setting(applications.VARIABLE, applications.DEFAULT)
    for_applications: Mapping[type[Any], Any] = field(default_factory=dict, repr=False)
    #: A log line that lists environment variables which look like settings but are unknown. Empty
    #: if there are none.
    ignored: str = field(default="", repr=False)

    def warn_of_ignored(self) -> None:
        """Log a warning about environment variables that have no effect, because one of them may be
        a misspelled setting.
        """
        if self.ignored:
            log.warning(self.ignored)

    def of(self, kind: type[S]) -> S:
        """The settings of one application, or their defaults if they were not read from the
        environment.
        """
        found: S = self.for_applications[kind] if kind in self.for_applications else kind()
        return found

    def refused_words(self) -> list[str]:
        """The words of `password_words`, of which new passwords must not consist."""
        return [word for word in (part.strip() for part in self.password_words.split(",")) if word]

    @property
    def origins(self) -> list[str]:
        """The setting `cors_origins` as a list of origins."""
        return [each.strip() for each in self.cors_origins.split(",") if each.strip()]

    def broken_rules(self) -> Iterator[tuple[str, str]]:
        """Yield the name of each invalid field with the rule that it breaks."""
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
        if self.trace_url and not _TRACE_URL.fullmatch(self.trace_url):
            yield "trace_url", f"must be like {_TRACE_URL_LIKE}, not {self.trace_url[:40]!r}"
        for proxy in self.forwarded_allow_ips.split(","):
            if problem := proxy_problem(proxy.strip()):
                yield "forwarded_allow_ips", problem
        for origin in self.origins:
            if not _ORIGIN.fullmatch(origin):
                yield "cors_origins", f"must name origins like https://app.example.com, not {origin!r}"


def proxy_problem(proxy: str) -> str | None:
    """The rule that the address or network of a trusted proxy breaks, or None if it is valid.

    A trusted proxy decides to which client address its requests are attributed.
    """
    try:
        network = ipaddress.ip_network(proxy)
    except ValueError:
        network = None
    if network is not None and network.prefixlen > 0:
        return None
    return (
        "must name the proxies in front of the API, like 10.0.0.7 or 10.0.0.0/24, not "
        f"{proxy[:40]!r}: otherwise any client could pretend to have another address"
    )


def rate_problem(rate: str) -> str | None:
    """The rule that a rate limit setting breaks, or None if it is valid."""
    if RATE.fullmatch(rate):
        return None
    return f"must be like 600/minute (second, minute, hour, day), not {rate!r}"


def url_problem(url: str) -> str | None:
    """The rule that a web address in a setting breaks, or None if it is valid. Plain HTTP is
    allowed only for addresses of this machine.
    """
    if (LOOPBACK.fullmatch(url) or _HTTPS.fullmatch(url)) and _port_is_valid(url):
        return None
    return (
        "must begin with https:// and a host, like https://example.com; plain http is only for this machine"
    )


def _port_is_valid(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def read(environ: Mapping[str, str], *, needs: tuple[str, ...] = ("database_url", "redis_url")) -> Settings:
    """Read all settings from the environment. `needs` names the fields that this process requires.

    Raises SettingsError, which names the variable and the rule, for the first broken rule.
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
        # The error mentions unknown variables too, because a setting that seems to be missing may
        # be one of them, misspelled.
        raise SettingsError(f"{error} ({ignored})" if ignored else str(error)) from None
