"""Client of Web Push: sends one encrypted message to the push service of a browser (RFC 8030, 8291,
8292).

A push service only queues the message. It never reports whether the browser showed it.
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
#: Maximum number of tasks per worker that send push messages to the same user at the same time.
MAX_TASKS_OF_A_USER = 2
#: Retry delays in seconds: of a task while too many others send to the same user, and of a push
#: while too many others go to the same host.
USER_DELAY_S, HOST_DELAY_S = 5.0, 30.0
#: Retry delay in seconds if an overloaded push service gives none.
BUSY_DELAY_S = 60.0
#: Lifetime in seconds of the signed token that authorizes us at a push service. RFC 8292 allows at
#: most 24 h. A token is replaced after half of its lifetime.
TOKEN_LIFE_S = 12 * 3600
#: Maximum number of cached tokens, one per push service. There are fewer than ten legitimate push
#: services, so more than this can only come from forged subscriptions.
MAX_TOKENS = 100
#: Response headers that may contain the reason of a refusal. Windows' push service gives it only in
#: such a header and sends no body.
REASON_HEADERS = ("X-WNS-Error-Description",)
GONE = (httpx.codes.NOT_FOUND, httpx.codes.GONE)


@dataclass(frozen=True, slots=True)
class Subscription:
    """The address and the keys with which messages are sent to one browser.

    The endpoint URL is secret, because anyone who has it can send messages to the user.
    """

    id: int
    endpoint: str = field(repr=False)
    #: The browser's public key: a point on the curve P-256, in base64url.
    p256dh: str = field(repr=False)
    #: The authentication secret of the subscription: 16 bytes, in base64url.
    auth: str = field(repr=False)


class SubscriptionGone(PermanentError):
    """Raised if the subscription no longer exists, because the browser has unsubscribed."""


class WebPushGateway:
    """Client of all push services. One VAPID key pair signs the requests to all of them."""

    def __init__(
        self,
        key: ec.EllipticCurvePrivateKey | None,
        subject: str,
        sandbox_url: str,
        provider: Provider,
        *,
        threads: int,
    ) -> None:
        """`threads` is the number of threads of the worker.

        At most half of them send to one user at the same time, and no more than
        MAX_TASKS_OF_A_USER. At most three quarters push to one host. Each limit is at least one
        thread, so one user or one host may occupy the only thread of a worker.
        """
        # The library's strict check is switched off, because it refuses a subject that is an https
        # URL with a path.
        self._vapid = None if key is None else Vapid02(key, conf={"no-strict": True})
        self._subject = subject
        self._sandbox_url = sandbox_url
        self._provider = provider
        #: Cached tokens by the origin of the push service: the Authorization header, and the time
        #: at which it has to be replaced.
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
        """Limit how many tasks send to this user at the same time, while inside the context.

        Raises ProviderBusy if too many other tasks are sending to the user.
        """
        return self._users.taken(f"user {user}")

    async def send(
        self, subscription: Subscription, payload: bytes, *, ttl_s: int, urgency: str, topic: str
    ) -> None:
        """Send one message to one browser.

        If the push service still holds a message with the same topic, it replaces that message. A
        topic has up to 32 characters of base64url. Raises SubscriptionGone, ProviderRefused,
        ProviderBusy and ProviderAway. No error message contains the endpoint.
        """
        url = self._checked(subscription)
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise ProviderRefused(f"a push message has at most {MAX_PAYLOAD_BYTES} bytes, not {len(payload)}")
        headers = {
            "Authorization": self._token(f"{url.scheme}://{url.netloc.decode()}"),
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "TTL": str(ttl_s),
            "Urgency": urgency,
            "Topic": topic,
            # Windows' push service refuses a TTL of 0 unless this header is set. Other services
            # ignore it.
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
        """Check the stored subscription again before use, and return its endpoint as a URL.

        The rules may have changed since it was stored.
        """
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
        """Return the Authorization header for one push service, from the cache if possible."""
        token, due = self._tokens.get(origin, ("", 0.0))
        now = time.time()
        if now < due:
            return token
        assert self._vapid is not None  # `_checked` has refused the request if there is no key
        claims = {"aud": origin, "exp": int(now) + TOKEN_LIFE_S, "sub": self._subject}
        token = str(self._vapid.sign(claims)["Authorization"])
        if len(self._tokens) >= MAX_TOKENS:
            self._tokens.clear()
        self._tokens[origin] = token, now + TOKEN_LIFE_S / 2
        return token


def encrypt(payload: bytes, subscription: Subscription) -> bytes:
    """Encrypt a message for this browser. Each message gets a new key pair."""
    body: bytes = http_ece.encrypt(
        payload,
        private_key=ec.generate_private_key(ec.SECP256R1()),
        dh=web_push.decode(subscription.p256dh),
        auth_secret=web_push.decode(subscription.auth),
    )
    return body


def _host_of(url: httpx.URL) -> str:
    """Return the host of a push service, with the port if it is not the default port.

    A different port counts as a different service.
    """
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
