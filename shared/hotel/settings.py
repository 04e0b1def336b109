"""The hotel application's settings: its mail server and its accounts at outside services."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from shared.environment import setting
from shared.hotel import web_push
from shared.settings import LOOPBACK, rate_problem

#: URLs to which keys are sent.
_KEYED_URLS = ("serpapi_url", "travclan_auth_url", "travclan_hotel_url", "travclan_volt_url", "stripe_url")
_RATES = ("serpapi_rate", "travclan_rate", "push_rate", "stripe_rate")
_SMTP_SECURITY = ("none", "starttls", "tls")
_SUBJECT = re.compile(r"mailto:[^@\s]+@[^@\s]+|https://\S+")


@dataclass(frozen=True, slots=True, kw_only=True)
class HotelSettings:
    """What operators of the hotel application may set."""

    smtp_host: str = setting("SMTP_HOST", "127.0.0.1")
    smtp_port: int = setting("SMTP_PORT", 25)
    smtp_user: str = setting("SMTP_USER", "")
    smtp_password: str = setting("SMTP_PASSWORD", "")
    smtp_security: str = setting("SMTP_SECURITY", "none", "none, starttls or tls")
    mail_from: str = setting("EMAILS_FROM_EMAIL", "hello@often-hotels.example")
    mail_from_name: str = setting("EMAILS_FROM_NAME", "Often Hotels")
    #: Outside services. Without its key a service is not used, and its tasks say so.
    serpapi_key: str = setting("SERP_API_KEY", "")
    serpapi_url: str = setting("SERP_API_BASE_URL", "https://serpapi.com")
    #: Searches that are left to people when scans have used up the rest of the plan.
    serpapi_reserve: int = setting("OFTEN_SERPAPI_RESERVE", 50)
    travclan_api_key: str = setting("TRAVCLAN_API_KEY", "")
    travclan_merchant_id: str = setting("TRAVCLAN_MERCHANT_ID", "")
    travclan_user_id: str = setting("TRAVCLAN_USER_ID", "")
    travclan_auth_url: str = setting("TRAVCLAN_AUTH_URL", "https://trav-auth-sandbox.travclan.com")
    travclan_hotel_url: str = setting("TRAVCLAN_HOTEL_URL", "https://hotel-api-sandbox.travclan.com")
    travclan_volt_url: str = setting("TRAVCLAN_VOLT_URL", "https://hotel-volt-api-sandbox.travclan.com")
    stripe_key: str = setting("STRIPE_SECRET_KEY", "")
    stripe_url: str = setting("STRIPE_BASE_URL", "https://api.stripe.com")
    #: base64url of the 32 bytes of a P-256 private key; a new one ends every subscription.
    vapid_private_key: str = setting("VAPID_PRIVATE_KEY", "")
    #: Whom a push service writes to when something is wrong.
    vapid_subject: str = setting("VAPID_SUBJECT", "mailto:hello@often-hotels.example")
    #: The one address on which pushes may go to this machine; empty: none.
    push_sandbox_url: str = setting("OFTEN_PUSH_SANDBOX_URL", "")
    #: Requests over all workers together.
    serpapi_rate: str = setting("OFTEN_SERPAPI_RATE", "2/second")
    travclan_rate: str = setting("OFTEN_TRAVCLAN_RATE", "5/second")
    push_rate: str = setting("OFTEN_PUSH_RATE", "100/second")
    stripe_rate: str = setting("OFTEN_STRIPE_RATE", "20/second")

    def broken_rules(self) -> Iterator[tuple[str, str]]:
        """Field and rule, for each rule that is broken."""
        if self.smtp_security not in _SMTP_SECURITY:
            rule = f"must be one of {', '.join(_SMTP_SECURITY)}, not {self.smtp_security!r}"
            yield "smtp_security", rule
        if not 1 <= self.smtp_port <= 65_535:
            yield "smtp_port", f"must be between 1 and 65535, not {self.smtp_port}"
        for name in _KEYED_URLS:
            url = getattr(self, name)
            if not re.match("https://[^/]", url) and not LOOPBACK.match(url):
                yield (
                    name,
                    "must begin with https://; plain http is for http://127.0.0.1 only: a key goes there",
                )
        for name in _RATES:
            if problem := rate_problem(getattr(self, name)):
                yield name, problem
        yield from self._bad_for_push()

    def _bad_for_push(self) -> Iterator[tuple[str, str]]:
        if self.vapid_private_key:
            try:
                web_push.private_key(self.vapid_private_key)
            except ValueError as error:
                yield "vapid_private_key", str(error)
        if not _SUBJECT.fullmatch(self.vapid_subject):
            yield "vapid_subject", f"must be like mailto:you@host or https://host, not {self.vapid_subject!r}"
        if self.push_sandbox_url and not LOOPBACK.match(self.push_sandbox_url):
            yield "push_sandbox_url", "must begin with http://127.0.0.1: pushes to it are let inside"
