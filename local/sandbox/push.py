"""The sandbox's push service and the browsers that have subscribed to it, which are all offline.

`POST /sandbox/push/subscriptions` subscribes a browser, `DELETE /sandbox/push/subscriptions/{id}`
unsubscribes it. The first message to a subscription binds the subscription to the key of the
sender. Unlike a real push service, this one can decrypt messages, and refuses those that the
browser could not read.
"""

import re
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgspec
from litestar import Request, Response, Router, delete, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath

from local.sandbox import vapid
from local.sandbox.browser import Browser, Unreadable
from shared.hotel import web_push

MAX_BODY_BYTES, MAX_TTL_S = 4_096, 2_419_200
URGENCIES = ("very-low", "low", "normal", "high")
#: Error text for a conflict between TTL and cache policy, as in Windows' push service, which sends
#: it in a header only. That service reads a TTL of 0 as "do not keep the message".
TTL_CONFLICT = "Ttl value conflicts with X-WNS-Cache-Policy."
TOPIC = re.compile(r"[A-Za-z0-9_-]{1,32}")

Asked = Request[Any, Any, Any]
Body = dict[str, Any]


class Refusal(Exception):
    """Raised to answer a push request with an error status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Message(msgspec.Struct, frozen=True):
    """A decrypted push message, as the browser would show it."""

    topic: str | None
    urgency: str
    ttl_s: int
    #: The message's content: the decrypted JSON.
    content: Any


@dataclass
class Subscribed:
    """A subscribed browser, and the messages that were sent to it."""

    browser: Browser = field(default_factory=Browser.fresh)
    #: Key that signed the first message to this subscription. Later messages must have the same
    #: one.
    sender: str | None = None
    ended: bool = False
    #: All messages that were accepted for this subscription.
    receipts: list[Message] = field(default_factory=list)
    #: Messages that the browser would show once it is online.
    waiting: list[Message] = field(default_factory=list)

    def take(self, message: Message) -> None:
        self.receipts.append(message)
        if message.topic is not None:
            self.waiting = [other for other in self.waiting if other.topic != message.topic]
        if message.ttl_s:
            self.waiting.append(message)


class Push:
    """The simulated push service, with its subscriptions."""

    name = "push"

    def __init__(self) -> None:
        self._subscribed: dict[str, Subscribed] = {}
        self._refused: Counter[int] = Counter()

    def router(self) -> Router:
        itself = Provide(lambda: self, sync_to_thread=False)
        return Router("/", route_handlers=[take, subscribe, end], dependencies={"push": itself})

    def books(self) -> Body:
        return {
            "receipts": sum(len(one.receipts) for one in self._subscribed.values()),
            "waiting": sum(len(one.waiting) for one in self._subscribed.values()),
            "refused": {str(status): count for status, count in self._refused.items()},
            "subscriptions": {
                identity: {"ended": one.ended, "receipts": one.receipts, "waiting": one.waiting}
                for identity, one in self._subscribed.items()
            },
        }

    def subscribe(self, origin: str) -> Body:
        """Subscribe a new browser. Returns what the browser's `PushSubscription.toJSON()` would
        return.
        """
        identity = secrets.token_urlsafe(16)
        self._subscribed[identity] = Subscribed()
        browser = self._subscribed[identity].browser
        keys = {"p256dh": web_push.encode(browser.point), "auth": web_push.encode(browser.auth)}
        return {"endpoint": f"{origin}/push/{identity}", "expirationTime": None, "keys": keys}

    def end(self, identity: str) -> None:
        """End a push subscription. Raises Refusal if it does not exist."""
        self._find(identity).ended = True

    def take(self, identity: str, headers: Any, body: bytes, origin: str) -> None:
        """Accept a push message for a browser, or raise Refusal."""
        subscribed = self._find(identity)
        if subscribed.ended:
            raise Refusal(410, "The subscription has ended.")
        topic, urgency, ttl_s = check_headers(headers)
        try:
            sender = vapid.check(headers.get("authorization", ""), origin, time.time())
        except vapid.Rejected as error:
            raise Refusal(401, f"VAPID: {error}.") from None
        if subscribed.sender not in (None, sender):
            raise Refusal(403, "VAPID: the subscription belongs to another key.")
        if len(body) > MAX_BODY_BYTES:
            raise Refusal(413, f"The body has more than {MAX_BODY_BYTES} bytes.")
        try:
            content = msgspec.json.decode(subscribed.browser.decrypt(body))
        except (Unreadable, msgspec.DecodeError) as error:
            raise Refusal(400, f"The browser could not read this: {error}.") from None
        subscribed.sender = sender
        subscribed.take(Message(topic, urgency, ttl_s, content))

    def count_refusal(self, status: int) -> None:
        self._refused[status] += 1

    def _find(self, identity: str) -> Subscribed:
        if identity not in self._subscribed:
            raise Refusal(404, "There is no such subscription.")
        return self._subscribed[identity]


@post("/push/{identity:str}")
async def take(identity: FromPath[str], request: Asked, push: NamedDependency[Push]) -> Response[Body]:
    body = await request.body()
    try:
        push.take(identity, request.headers, body, origin_of(request))
    except Refusal as refusal:
        push.count_refusal(refusal.status)
        if refusal.text == TTL_CONFLICT:
            return Response({}, status_code=400, headers={"X-WNS-Error-Description": TTL_CONFLICT})
        problem = {"code": refusal.status, "errno": 100, "message": refusal.text}
        return Response(problem, status_code=refusal.status)
    return Response({}, status_code=201, headers={"location": f"{origin_of(request)}/push/messages/sandbox"})


@post("/sandbox/push/subscriptions")
async def subscribe(request: Asked, push: NamedDependency[Push]) -> Body:
    return push.subscribe(origin_of(request))


@delete("/sandbox/push/subscriptions/{identity:str}", status_code=200)
async def end(identity: FromPath[str], push: NamedDependency[Push]) -> Response[Body]:
    try:
        push.end(identity)
    except Refusal as refusal:
        return Response({"message": refusal.text}, status_code=refusal.status)
    return Response({})


def origin_of(request: Asked) -> str:
    """The scheme, host and port of the request's URL, spelled as the client wrote them."""
    return f"{request.url.scheme}://{request.headers.get('host', '')}"


def check_headers(headers: Any) -> tuple[str | None, str, int]:
    """Check the headers of a push message. Returns topic, urgency and TTL. Raises Refusal."""
    ttl, topic, urgency = headers.get("ttl", ""), headers.get("topic"), headers.get("urgency", "normal")
    if not ttl.isdecimal() or int(ttl) > MAX_TTL_S:
        raise Refusal(400, f"TTL is required and must be a number of seconds up to {MAX_TTL_S}.")
    if headers.get("content-encoding") != "aes128gcm":
        raise Refusal(400, "Content-Encoding must be aes128gcm.")
    if topic is not None and not TOPIC.fullmatch(topic):
        raise Refusal(400, "Topic must be up to 32 characters of base64url.")
    if int(ttl) == 0 and headers.get("x-wns-cache-policy") != "no-cache":
        raise Refusal(400, TTL_CONFLICT)
    if urgency not in URGENCIES:
        raise Refusal(400, f"Urgency must be one of {', '.join(URGENCIES)}.")
    return topic, urgency, int(ttl)
