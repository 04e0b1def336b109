"""Web Push: hands one encrypted message to the push service of a browser (RFC 8030, 8291, 8292).

A push service takes a message for later: nobody learns whether the browser showed it.
"""

import time
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self
from urllib.parse import urlsplit

import http_ece
import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from py_vapid import Vapid02

from services.worker.hotel.gateways import answer, answer_body, retry_after
from services.worker.hotel.gateways.places import Places
from services.worker.hotel.gateways.provider import Pace, Provider, ProviderBusy, ProviderRefused
from services.worker.hotel.gateways.public_hosts import PublicHosts
from shared.errors import PermanentError
from shared.hotel import web_push
from shared.hotel.contracts.notifications import MAX_PAYLOAD_BYTES
from shared.hotel.settings import HotelSettings

NAME = "Web Push"
#: Tasks that push to one user at the same time, in one worker.
MAX_TASKS_OF_A_USER = 2
#: Wait of a task that found no place for its user, and of a push that found none for its host.
USER_DELAY_S, HOST_DELAY_S = 5.0, 30.0
#: When a push service that is asked too often doesn't say when it is free again.
BUSY_DELAY_S = 60.0
#: A token may end 24 h from now at most; each one is used for half of its life.
TOKEN_LIFE_S = 12 * 3600
#: There are a handful of push services; more origins are somebody's play.
MOST_TOKENS = 100
#: Windows' service gives the reason of a refusal here, and no body.
REASON_HEADERS = ("X-WNS-Error-Description",)
GONE = (httpx.codes.NOT_FOUND, httpx.codes.GONE)


@dataclass(frozen=True, slots=True)
class Subscription:
    """Where one browser takes messages; who knows the endpoint can bother its user."""

    id: int
    endpoint: str = field(repr=False)
    #: base64url, a point of P-256.
    p256dh: str = field(repr=False)
    #: base64url, 16 bytes.
    auth: str = field(repr=False)


class SubscriptionGone(PermanentError):
    """The browser is not subscribed any more."""


class WebPushGateway:
    """Our side of all push services: one key pair for all of them."""

    def __init__(
        self,
        key: ec.EllipticCurvePrivateKey | None,
        subject: str,
        sandbox_url: str,
        provider: Provider,
        *,
        threads: int,
    ) -> None:
        """`threads` is how many bodies the worker runs: neither a user nor a host may have them all."""
        # Its own check refuses an https subject with a path.
        self._vapid = None if key is None else Vapid02(key, conf={"no-strict": True})
        self._subject = subject
        self._sandbox_url = sandbox_url
        self._provider = provider
        #: By origin: header and when a new one is due.
        self._tokens: dict[str, tuple[str, float]] = {}
        self._users = Places(max(1, min(MAX_TASKS_OF_A_USER, threads // 2)), USER_DELAY_S)
        self._hosts = Places(max(1, threads * 3 // 4), HOST_DELAY_S)

    @classmethod
    def from_settings(cls, settings: HotelSettings, pace: Pace, *, threads: int = 8) -> Self:
        key = web_push.private_key(settings.vapid_private_key) if settings.vapid_private_key else None
        transport = PublicHosts(besides=_host_and_port(settings.push_sandbox_url))
        provider = Provider(
            NAME,
            pace=pace,
            rate=settings.push_rate,
            deadline=settings.push_deadline,
            read=answer_body.beginning,
            transport=transport,
        )
        return cls(key, settings.vapid_subject, settings.push_sandbox_url, provider, threads=threads)

    @property
    def configured(self) -> bool:
        return self._vapid is not None

    def place_of_user(self, user: int) -> AbstractAsyncContextManager[None]:
        """Push to the user inside; raises ProviderBusy while other tasks push to the same user."""
        return self._users.taken(f"user {user}")

    async def send(
        self, subscription: Subscription, payload: bytes, *, ttl_s: int, urgency: str, topic: str
    ) -> None:
        """A later message of the same topic, up to 32 characters of base64url, replaces one that still waits.

        Raises SubscriptionGone, ProviderRefused, ProviderBusy and ProviderAway; none says the endpoint.
        """
        url = self._checked(subscription)
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise ProviderRefused(f"a push holds {MAX_PAYLOAD_BYTES} bytes at most, not {len(payload)}")
        headers = {
            "Authorization": self._token(f"{url.scheme}://{url.netloc.decode()}"),
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "TTL": str(ttl_s),
            "Urgency": urgency,
            "Topic": topic,
            # Windows' service refuses a TTL of 0 without it; the others ignore it.
            "X-WNS-Cache-Policy": "cache" if ttl_s else "no-cache",
        }
        service = f"the push service {_host_of(url)}"
        content = encrypt(payload, subscription)
        async with self._hosts.taken(service):
            response = await self._provider.request(
                "POST", str(url), circuit=service, headers=headers, content=content
            )
        if not response.is_success:
            secrets = (subscription.endpoint, url.raw_path.decode(), subscription.auth, subscription.p256dh)
            raise _failure(response, answer.words(response, service, secrets, REASON_HEADERS))

    async def close(self) -> None:
        await self._provider.close()

    def _checked(self, subscription: Subscription) -> httpx.URL:
        """The endpoint; the rules may have changed since it was stored."""
        if not self.configured:
            raise ProviderRefused("VAPID_PRIVATE_KEY is not set, so nothing is pushed")
        try:
            web_push.check_endpoint(subscription.endpoint, self._sandbox_url)
            web_push.check_keys(subscription.p256dh, subscription.auth)
            return httpx.URL(subscription.endpoint)
        except (ValueError, httpx.InvalidURL) as error:
            rule = error if isinstance(error, ValueError) else "endpoint must be a URL"
            raise ProviderRefused(f"subscription {subscription.id} can't be used: its {rule}") from None

    def _token(self, origin: str) -> str:
        """The Authorization header for one push service."""
        token, due = self._tokens.get(origin, ("", 0.0))
        now = time.time()
        if now < due:
            return token
        assert self._vapid is not None  # checked before
        claims = {"aud": origin, "exp": int(now) + TOKEN_LIFE_S, "sub": self._subject}
        token = str(self._vapid.sign(claims)["Authorization"])
        if len(self._tokens) >= MOST_TOKENS:
            self._tokens.clear()
        self._tokens[origin] = token, now + TOKEN_LIFE_S / 2
        return token


def encrypt(payload: bytes, subscription: Subscription) -> bytes:
    """For the browser's eyes only, with a key of its own for each message."""
    body: bytes = http_ece.encrypt(
        payload,
        private_key=ec.generate_private_key(ec.SECP256R1()),
        dh=web_push.decode(subscription.p256dh),
        auth_secret=web_push.decode(subscription.auth),
    )
    return body


def _host_of(url: httpx.URL) -> str:
    """With the port, where it is not the usual one: another port is another service."""
    return url.netloc.decode()


def _failure(response: httpx.Response, words: str) -> SubscriptionGone | ProviderRefused | ProviderBusy:
    if response.status_code in GONE:
        return SubscriptionGone(words)
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        delay_s = retry_after.wait_s(response, datetime.now(UTC))
        return ProviderBusy(words, delay_s=BUSY_DELAY_S if delay_s is None else delay_s)
    return ProviderRefused(words)


def _host_and_port(url: str) -> tuple[str, int] | None:
    parts = urlsplit(url)
    return (parts.hostname, parts.port or 80) if parts.hostname else None
