"""The settings of every process, read once from the environment by a service's `__main__`."""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shared import web_push
from shared.errors import SettingsError


def _setting(variable: str, default: Any, rule: str = "") -> Any:
    return field(default=default, metadata={"variable": variable, "rule": rule})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What operators may turn. `variable` is the environment variable; durations are written in seconds."""

    database_url: str = _setting("DATABASE_URL", "", "postgres://user:password@host:5432/name")
    redis_url: str = _setting("REDIS_URL", "", "redis://:password@host:6379/0")
    secret_key: str = _setting("SECRET_KEY", "", "at least 32 characters; signs access tokens")
    vault_keys: str = _setting("OFTEN_VAULT_KEYS", "")
    access_token_life: timedelta = _setting("OFTEN_ACCESS_TOKEN_LIFE", timedelta(minutes=15))
    refresh_token_life: timedelta = _setting("OFTEN_REFRESH_TOKEN_LIFE", timedelta(days=14))
    api_host: str = _setting("OFTEN_API_HOST", "127.0.0.1")
    api_port: int = _setting("OFTEN_API_PORT", 8000)
    max_body_bytes: int = _setting("OFTEN_MAX_BODY_BYTES", 1_048_576)
    #: Until an answer begins, the reading of the body included.
    request_timeout: timedelta = _setting("OFTEN_REQUEST_TIMEOUT", timedelta(seconds=30))
    #: For who is signed in; and for each address, of requests without credentials and of refused ones.
    rate_limit_user: str = _setting("OFTEN_RATE_LIMIT_USER", "60000/minute")
    rate_limit_address: str = _setting("OFTEN_RATE_LIMIT_ADDRESS", "600/minute")
    #: Where worker and scheduler answer Prometheus; 0 leaves the choice of the port to the system.
    metrics_host: str = _setting("OFTEN_METRICS_HOST", "127.0.0.1")
    metrics_port: int = _setting("OFTEN_METRICS_PORT", 0)
    log_format: str = _setting("OFTEN_LOG_FORMAT", "json", "json or text")
    #: Comma-separated; empty serves every queue that a contract names.
    worker_queues: str = _setting("OFTEN_WORKER_QUEUES", "")
    worker_threads: int = _setting("OFTEN_WORKER_THREADS", 8)
    #: How long a stopping worker lets running tasks finish.
    worker_grace: timedelta = _setting("OFTEN_WORKER_GRACE", timedelta(seconds=8))
    #: A worker replaces itself after about this many tasks (±20 %) or this much memory; 0 switches it off.
    worker_max_tasks: int = _setting("OFTEN_WORKER_MAX_TASKS", 100_000)
    worker_max_memory_mb: int = _setting("OFTEN_WORKER_MAX_MEMORY_MB", 1_024)
    #: A worker whose heartbeat stood still this long is dead even when it still holds its lock.
    stall_after: timedelta = _setting("OFTEN_STALL_AFTER", timedelta(seconds=60))
    smtp_host: str = _setting("SMTP_HOST", "127.0.0.1")
    smtp_port: int = _setting("SMTP_PORT", 25)
    smtp_user: str = _setting("SMTP_USER", "")
    smtp_password: str = _setting("SMTP_PASSWORD", "")
    smtp_security: str = _setting("SMTP_SECURITY", "none", "none, starttls or tls")
    #: Where people reach the API from outside; mails link to it.
    public_url: str = _setting("OFTEN_PUBLIC_URL", "http://127.0.0.1:8000")
    mail_from: str = _setting("EMAILS_FROM_EMAIL", "hello@often-hotels.example")
    mail_from_name: str = _setting("EMAILS_FROM_NAME", "Often Hotels")
    #: Outside services. Without its key a service is not used, and its tasks say so.
    serpapi_key: str = _setting("SERP_API_KEY", "")
    serpapi_url: str = _setting("SERP_API_BASE_URL", "https://serpapi.com")
    #: Searches that are left to people when scans have used up the rest of the plan.
    serpapi_reserve: int = _setting("OFTEN_SERPAPI_RESERVE", 50)
    travclan_api_key: str = _setting("TRAVCLAN_API_KEY", "")
    travclan_merchant_id: str = _setting("TRAVCLAN_MERCHANT_ID", "")
    travclan_user_id: str = _setting("TRAVCLAN_USER_ID", "")
    travclan_auth_url: str = _setting("TRAVCLAN_AUTH_URL", "https://trav-auth-sandbox.travclan.com")
    travclan_hotel_url: str = _setting("TRAVCLAN_HOTEL_URL", "https://hotel-api-sandbox.travclan.com")
    travclan_volt_url: str = _setting("TRAVCLAN_VOLT_URL", "https://hotel-volt-api-sandbox.travclan.com")
    stripe_key: str = _setting("STRIPE_SECRET_KEY", "")
    stripe_url: str = _setting("STRIPE_BASE_URL", "https://api.stripe.com")
    #: base64url of the 32 bytes of a P-256 private key; a new one ends every subscription.
    vapid_private_key: str = _setting("VAPID_PRIVATE_KEY", "")
    #: Whom a push service writes to when something is wrong.
    vapid_subject: str = _setting("VAPID_SUBJECT", "mailto:hello@often-hotels.example")
    #: The one address on which pushes may go to this machine; empty: none.
    push_sandbox_url: str = _setting("OFTEN_PUSH_SANDBOX_URL", "")
    #: Requests over all workers together.
    serpapi_rate: str = _setting("OFTEN_SERPAPI_RATE", "2/second")
    travclan_rate: str = _setting("OFTEN_TRAVCLAN_RATE", "5/second")
    push_rate: str = _setting("OFTEN_PUSH_RATE", "100/second")
    stripe_rate: str = _setting("OFTEN_STRIPE_RATE", "20/second")


#: `<VARIABLE>_FILE` names a file that holds the setting, as the secrets of containers do.
IN_FILE = "_FILE"

_SCHEMES = {"database_url": ("postgres", "postgresql"), "redis_url": ("redis", "rediss")}
_CHOICES = {"log_format": ("json", "text"), "smtp_security": ("none", "starttls", "tls")}
_RANGES = {
    "api_port": (0, 65_535),
    "smtp_port": (1, 65_535),
    "metrics_port": (0, 65_535),
    "worker_threads": (1, 256),
}


_RATES = (
    *("rate_limit_user", "rate_limit_address"),
    *("serpapi_rate", "travclan_rate", "push_rate", "stripe_rate"),
)
_RATE = re.compile(r"[1-9][0-9]{0,8}/(second|minute|hour|day)")
_SUBJECT = re.compile(r"mailto:[^@\s]+@[^@\s]+|https://\S+")
_LOOPBACK = re.compile(r"http://(127\.0\.0\.1|localhost)(:[0-9]{1,5})?(/|$)")


def read(environ: Mapping[str, str], *, needs: tuple[str, ...] = ("database_url", "redis_url")) -> Settings:
    """Read the environment; `needs` names the fields that this process cannot do without.

    Raises SettingsError, naming variable and rule, on the first wrong one.
    """
    known = {f.metadata["variable"]: f for f in fields(Settings)}
    _refuse_misspelt(environ, known)
    given = {v: text for v in known if (text := _value(environ, v))}
    values = {f.name: _parse(v, given[v], f.default) for v, f in known.items() if v in given}
    settings = Settings(**values)
    _check(settings, needs, {f.name: f for f in known.values()})
    return settings


def _refuse_misspelt(environ: Mapping[str, str], known: Mapping[str, Any]) -> None:
    names = [*known, *(f"{variable}{IN_FILE}" for variable in known)]
    for variable in environ:
        close = difflib.get_close_matches(variable, names, n=1, cutoff=0.85)
        if variable in names or not (close or variable.startswith("OFTEN_")):
            continue
        if variable.startswith("OFTEN_") or sorted(variable) == sorted(close[0]):
            hint = f": did you mean {close[0]}?" if close else f"; known: {', '.join(sorted(known))}"
            raise SettingsError(f"{variable} is not a setting{hint}")


def _value(environ: Mapping[str, str], variable: str) -> str:
    """What the variable, or the file that `<variable>_FILE` names, holds; empty when there is neither."""
    text, path = environ.get(variable, ""), environ.get(f"{variable}{IN_FILE}")
    if not path:
        return text
    if text:
        raise SettingsError(f"{variable} and {variable}{IN_FILE} are both set: leave one of them out")
    try:
        return Path(path).read_text().rstrip("\r\n")  # editors and `echo` end a file with a line break
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{variable}{IN_FILE} names {path}, which cannot be read ({error}); "
            f"make it a text file that this account may read, or set {variable}"
        ) from None


def _parse(variable: str, text: str, default: Any) -> Any:
    if isinstance(default, str):
        return text
    try:
        number = float(text) if isinstance(default, timedelta) else int(text)
    except ValueError:
        kind = "a number of seconds" if isinstance(default, timedelta) else "a whole number"
        raise SettingsError(f"{variable} must be {kind}, not {text!r}") from None
    if number < 0:
        raise SettingsError(f"{variable} must not be negative, but is {text}")
    return timedelta(seconds=number) if isinstance(default, timedelta) else number


def _check(settings: Settings, needs: tuple[str, ...], by_name: Mapping[str, Any]) -> None:
    for name, rule in _broken_rules(settings, needs, by_name):
        raise SettingsError(f"{by_name[name].metadata['variable']} {rule}")


def _broken_rules(
    settings: Settings, needs: tuple[str, ...], by_name: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Field and rule, for each rule that is broken."""
    for name in needs:
        if not getattr(settings, name):
            yield name, f"is missing; write {by_name[name].metadata['rule']}"
    for name, schemes in _SCHEMES.items():
        scheme = urlsplit(getattr(settings, name)).scheme
        if getattr(settings, name) and scheme not in schemes:
            yield name, f"must begin with {schemes[0]}://, not {scheme or 'nothing'}://"
    for name, choices in _CHOICES.items():
        if getattr(settings, name) not in choices:
            yield name, f"must be one of {', '.join(choices)}, not {getattr(settings, name)!r}"
    yield from _out_of_range(settings)
    yield from _bad_for_push(settings)


def _bad_for_push(settings: Settings) -> Iterator[tuple[str, str]]:
    if settings.vapid_private_key:
        try:
            web_push.private_key(settings.vapid_private_key)
        except ValueError as error:
            yield "vapid_private_key", str(error)
    if not _SUBJECT.fullmatch(settings.vapid_subject):
        yield "vapid_subject", f"must be like mailto:you@host or https://host, not {settings.vapid_subject!r}"
    if settings.push_sandbox_url and not _LOOPBACK.match(settings.push_sandbox_url):
        yield (
            "push_sandbox_url",
            "must begin with http://127.0.0.1: pushes to it are let inside",
        )


def _out_of_range(settings: Settings) -> Iterator[tuple[str, str]]:
    for name, (lowest, highest) in _RANGES.items():
        if not lowest <= getattr(settings, name) <= highest:
            yield name, f"must be between {lowest} and {highest}, not {getattr(settings, name)}"
    if settings.secret_key and len(settings.secret_key) < 32:
        yield "secret_key", f"must have at least 32 characters, but has {len(settings.secret_key)}"
    for name in _RATES:
        if not _RATE.fullmatch(getattr(settings, name)):
            yield (
                name,
                f"must be like 600/minute (second, minute, hour, day), not {getattr(settings, name)!r}",
            )
    if settings.request_timeout < timedelta(seconds=1):
        yield "request_timeout", "must be at least 1 second: slower requests would all fail"
    public = urlsplit(settings.public_url)
    if public.scheme != "https" and public.hostname not in ("127.0.0.1", "localhost"):
        yield "public_url", "must begin with https://; plain http is for this machine only"
    if settings.stall_after < timedelta(seconds=10):
        yield "stall_after", "must be at least 10 seconds: shorter pauses are no deaths"
