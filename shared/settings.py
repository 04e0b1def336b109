"""The platform's settings, read once from the environment by a service's `__main__`.

An application brings a class of its own (`Application.settings`), which is read from the same environment;
`Settings.of` returns it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit

from shared import applications, environment, secret_key
from shared.environment import setting
from shared.transport import address

S = TypeVar("S")

_POSTGRES_SCHEMES = ("postgres", "postgresql")
_CHOICES = {"log_format": ("json", "text")}
_RANGES = {"api_port": (0, 65_535), "metrics_port": (0, 65_535), "worker_threads": (1, 256)}
_RATES = ("rate_limit_user", "rate_limit_address", "rate_limit_sign_in")
#: The form of a rate limit; applications use it too.
RATE = re.compile(r"[1-9][0-9]{0,8}/(second|minute|hour|day)")
#: Addresses of this machine, the only ones for which plain HTTP will do.
LOOPBACK = re.compile(r"http://(127\.0\.0\.1|localhost)(:[0-9]{1,5})?(/|\Z)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What operators may set. Durations are written in seconds."""

    #: Postgres 18 or newer.
    database_url: str = setting("DATABASE_URL", "", "postgres://user:password@host:5432/name")
    #: Redis 7 or Valkey 8, or newer. Queues live in one logical database, which no other program may use.
    redis_url: str = setting("REDIS_URL", "", "redis://:password@host:6379/0")
    #: Signs access tokens. Required by the API only. After a change, clients renew their access tokens and
    #: sessions go on.
    secret_key: str = setting("SECRET_KEY", "", "at least 32 random characters")
    #: Keys that seal sensitive fields, as `id:base64,id:base64`; the first one seals, all of them open.
    vault_keys: str = setting("OFTEN_VAULT_KEYS", "")
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
    #: Largest request body; a batch may be 16 MiB.
    max_body_bytes: int = setting("OFTEN_MAX_BODY_BYTES", 1_048_576)
    #: Time limit of a request until its answer begins, reading the body included.
    request_timeout: timedelta = setting("OFTEN_REQUEST_TIMEOUT", timedelta(seconds=30))
    #: Requests of one signed-in user.
    rate_limit_user: str = setting("OFTEN_RATE_LIMIT_USER", "60000/minute")
    #: Requests of one address without valid credentials.
    rate_limit_address: str = setting("OFTEN_RATE_LIMIT_ADDRESS", "600/minute")
    #: Sign-ins and registrations of one address; each of them costs a password hash.
    rate_limit_sign_in: str = setting("OFTEN_RATE_LIMIT_SIGN_IN", "60/minute")
    #: Address on which worker and scheduler answer Prometheus and health checks.
    metrics_host: str = setting("OFTEN_METRICS_HOST", "127.0.0.1")
    #: Port for the same; 0 lets the system choose one.
    metrics_port: int = setting("OFTEN_METRICS_PORT", 0)
    #: Format of log lines.
    log_format: str = setting("OFTEN_LOG_FORMAT", "json", "json or text")
    #: Queues that a worker serves, separated by commas; empty means every queue that a contract names.
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

    def of(self, kind: type[S]) -> S:
        """The settings of one application; its defaults where none were read."""
        found: S = self.for_applications[kind] if kind in self.for_applications else kind()
        return found

    def refused_words(self) -> list[str]:
        """The words that new passwords must not consist of."""
        return [word for word in (part.strip() for part in self.password_words.split(",")) if word]

    def broken_rules(self) -> Iterator[tuple[str, str]]:
        """Field and rule, for each rule that is broken."""
        scheme = self.database_url.partition("://")[0]
        if self.database_url and scheme not in _POSTGRES_SCHEMES:
            yield "database_url", f"must begin with postgres://, not {scheme[:20]}"
        if self.redis_url and (broken := address.check_url(self.redis_url)):
            yield "redis_url", broken
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                yield name, f"must be one of {', '.join(choices)}, not {getattr(self, name)!r}"
        for name, (lowest, highest) in _RANGES.items():
            if not lowest <= getattr(self, name) <= highest:
                yield name, f"must be between {lowest} and {highest}, not {getattr(self, name)}"
        yield from self._too_weak()

    def _too_weak(self) -> Iterator[tuple[str, str]]:
        for name in _RATES:
            if problem := rate_problem(getattr(self, name)):
                yield name, problem
        if self.secret_key and (weakness := secret_key.weakness(self.secret_key)):
            yield "secret_key", weakness
        if self.session_life < self.access_token_life:
            yield "session_life", "must not be shorter than OFTEN_ACCESS_TOKEN_LIFE"
        if self.request_timeout < timedelta(seconds=1):
            yield "request_timeout", "must be at least 1 second: slower requests would all fail"
        public = urlsplit(self.public_url)
        if public.scheme != "https" and public.hostname not in ("127.0.0.1", "localhost"):
            yield "public_url", "must begin with https://; plain http is for this machine only"
        if self.stall_after < timedelta(seconds=10):
            yield "stall_after", "must be at least 10 seconds: shorter pauses are no deaths"


def rate_problem(rate: str) -> str | None:
    """The rule that a rate limit breaks, if any."""
    if RATE.fullmatch(rate):
        return None
    return f"must be like 600/minute (second, minute, hour, day), not {rate!r}"


def read(environ: Mapping[str, str], *, needs: tuple[str, ...] = ("database_url", "redis_url")) -> Settings:
    """Read the environment; `needs` names the fields that this process cannot do without.

    Raises SettingsError, naming variable and rule, for the first broken rule.
    """
    names = environ.get(applications.VARIABLE, applications.DEFAULT)
    found = applications.find(names)
    kinds = [applications.resolve(each.settings) for each in found if each.settings]
    environment.refuse_misspelt(environ, [Settings, *kinds])
    given = {kind: environment.read(kind, environ) for kind in kinds}
    return environment.read(Settings, environ, needs, applications=names, for_applications=given)
