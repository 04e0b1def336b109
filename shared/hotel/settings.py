"""The hotel application's settings: its mail server and its accounts at outside services."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from shared import quota_amounts
from shared.environment import setting
from shared.hotel import web_push
from shared.settings import LOOPBACK, rate_problem, url_problem

#: Names of settings that contain URLs to which keys are sent. They must therefore use https.
_KEYED_URLS = ("serpapi_url", "travclan_auth_url", "travclan_hotel_url", "travclan_volt_url", "stripe_url")
_RATES = ("serpapi_rate", "travclan_rate", "push_rate", "stripe_rate")
_QUOTAS = ("quota_searches", "quota_mails")
#: Names of settings that limit the duration of one call to an outside service. Two calls and the
#: work between them must fit into the 5 minutes that a payment's attempt may take.
_DEADLINES = ("smtp_deadline", "serpapi_deadline", "travclan_deadline", "push_deadline", "stripe_deadline")
_MIN_DEADLINE, _MAX_DEADLINE = timedelta(seconds=1), timedelta(seconds=120)
_SMTP_SECURITY = ("none", "starttls", "tls")
#: Names of settings that are sent in headers or URLs of requests, and may therefore contain only
#: ASCII characters.
_KEYS = ("serpapi_key", "travclan_api_key", "travclan_merchant_id", "travclan_user_id", "stripe_key")
#: Matches a mail address in ASCII. An international domain must be given in its xn-- form.
_ADDRESS = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[a-z0-9-]+(\.[a-z0-9-]+)*", re.ASCII | re.IGNORECASE)
_SUBJECT = re.compile(r"mailto:[^@\s]+@[^@\s]+|https://\S+")


@dataclass(frozen=True, slots=True, kw_only=True)
class HotelSettings:
    """The settings of the hotel application."""

    #: Host name of the mail server.
    smtp_host: str = setting("SMTP_HOST", "127.0.0.1")
    #: Port of the mail server.
    smtp_port: int = setting("SMTP_PORT", 25)
    #: User name for signing in to the mail server; empty means no sign-in.
    smtp_user: str = setting("SMTP_USER", "")
    #: Password for signing in to the mail server.
    smtp_password: str = setting("SMTP_PASSWORD", "", secret_of=("worker",))
    #: Encryption of the connection to the mail server.
    smtp_security: str = setting("SMTP_SECURITY", "none", "none, starttls or tls")
    #: Sender address of all mail, without a name.
    mail_from: str = setting("EMAILS_FROM_EMAIL", "hello@often-hotels.example")
    #: Sender name of all mail.
    mail_from_name: str = setting("EMAILS_FROM_NAME", "Often Hotels")
    #: Key for SerpApi. Without it, SerpApi is not used, and tasks that need it fail with an error
    #: that says so.
    serpapi_key: str = setting("SERP_API_KEY", "", secret_of=("worker",))
    #: Address of SerpApi.
    serpapi_url: str = setting("SERP_API_BASE_URL", "https://serpapi.com")
    #: Number of searches of the SerpApi plan that scheduled price scans must leave for searches by
    #: users.
    serpapi_reserve: int = setting("OFTEN_SERPAPI_RESERVE", 50)
    #: Key for TravClan. Without it, TravClan is not used, and tasks that need it fail with an error
    #: that says so.
    travclan_api_key: str = setting("TRAVCLAN_API_KEY", "", secret_of=("worker",))
    #: Our merchant id at TravClan.
    travclan_merchant_id: str = setting("TRAVCLAN_MERCHANT_ID", "", secret_of=("worker",))
    #: Our user id at TravClan.
    travclan_user_id: str = setting("TRAVCLAN_USER_ID", "", secret_of=("worker",))
    #: Address of TravClan's sign-in.
    travclan_auth_url: str = setting("TRAVCLAN_AUTH_URL", "https://trav-auth-sandbox.travclan.com")
    #: Address of TravClan's hotel service.
    travclan_hotel_url: str = setting("TRAVCLAN_HOTEL_URL", "https://hotel-api-sandbox.travclan.com")
    #: Address of TravClan's "Volt" service.
    travclan_volt_url: str = setting("TRAVCLAN_VOLT_URL", "https://hotel-volt-api-sandbox.travclan.com")
    #: Secret key for Stripe. Without it, payments are refused.
    stripe_key: str = setting("STRIPE_SECRET_KEY", "", secret_of=("worker",))
    #: Address of Stripe.
    stripe_url: str = setting("STRIPE_BASE_URL", "https://api.stripe.com")
    #: Private key for Web Push: the 32 bytes of a P-256 key in base64url. A new key ends every
    #: subscription. The API gives browsers the public key that belongs to it.
    vapid_private_key: str = setting("VAPID_PRIVATE_KEY", "", secret_of=("api", "worker"))
    #: Contact address for operators of push services who notice a problem with our messages.
    vapid_subject: str = setting("VAPID_SUBJECT", "mailto:hello@often-hotels.example")
    #: The only URL on this machine to which push messages may be sent, for tests; empty means none.
    push_sandbox_url: str = setting("OFTEN_PUSH_SANDBOX_URL", "")
    #: Maximum rate of requests to SerpApi from all workers together.
    serpapi_rate: str = setting("OFTEN_SERPAPI_RATE", "2/second")
    #: Maximum rate of requests to TravClan from all workers together.
    travclan_rate: str = setting("OFTEN_TRAVCLAN_RATE", "5/second")
    #: Maximum rate of push messages from all workers together.
    push_rate: str = setting("OFTEN_PUSH_RATE", "100/second")
    #: Maximum rate of requests to Stripe from all workers together.
    stripe_rate: str = setting("OFTEN_STRIPE_RATE", "20/second")
    #: Number of hotel searches that one account may submit in a day (UTC), by role, as in
    #: `user=50,operator=500`; or `none` for no limit.
    quota_searches: str = setting("OFTEN_QUOTA_SEARCHES", "user=50")
    #: Number of mails that one account may submit in a day (UTC), by role; or `none` for no limit.
    quota_mails: str = setting("OFTEN_QUOTA_MAILS", "user=20")
    #: Maximum time for sending one mail to the mail server.
    smtp_deadline: timedelta = setting("OFTEN_SMTP_DEADLINE", timedelta(seconds=60))
    #: Maximum time for one call of SerpApi: connection, headers and body together.
    serpapi_deadline: timedelta = setting("OFTEN_SERPAPI_DEADLINE", timedelta(seconds=30))
    #: Maximum time for one call of TravClan: connection, headers and body together.
    travclan_deadline: timedelta = setting("OFTEN_TRAVCLAN_DEADLINE", timedelta(seconds=60))
    #: Maximum time for one push to one browser.
    push_deadline: timedelta = setting("OFTEN_PUSH_DEADLINE", timedelta(seconds=10))
    #: Maximum time for one call of Stripe: connection, headers and body together.
    stripe_deadline: timedelta = setting("OFTEN_STRIPE_DEADLINE", timedelta(seconds=60))

    def broken_rules(self) -> Iterator[tuple[str, str]]:
        """Yield the name of the field and the broken rule for each invalid setting."""
        if self.smtp_security not in _SMTP_SECURITY:
            rule = f"must be one of {', '.join(_SMTP_SECURITY)}, not {self.smtp_security!r}"
            yield "smtp_security", rule
        if not 1 <= self.smtp_port <= 65_535:
            yield "smtp_port", f"must be between 1 and 65535, not {self.smtp_port}"
        for name in _KEYED_URLS:
            if problem := url_problem(getattr(self, name)):
                yield name, f"{problem}: a key goes there"
        if not _ADDRESS.fullmatch(self.mail_from):
            yield "mail_from", f"must be a bare address like hello@example.com, not {self.mail_from[:40]!r}"
        for name in _KEYS:
            if not getattr(self, name).isascii():
                yield name, "must have ASCII characters only, as keys do"
        yield from self._bad_limits()
        yield from self._bad_for_push()

    def _bad_limits(self) -> Iterator[tuple[str, str]]:
        for name in _RATES:
            if problem := rate_problem(getattr(self, name)):
                yield name, problem
        for name in _QUOTAS:
            if problem := quota_amounts.problem(getattr(self, name)):
                yield name, problem
        for name in _DEADLINES:
            if not _MIN_DEADLINE <= getattr(self, name) <= _MAX_DEADLINE:
                least, most = _MIN_DEADLINE.total_seconds(), _MAX_DEADLINE.total_seconds()
                yield name, f"must be between {least:g} and {most:g} seconds"

    def _bad_for_push(self) -> Iterator[tuple[str, str]]:
        if self.vapid_private_key:
            try:
                web_push.private_key(self.vapid_private_key)
            except ValueError as error:
                yield "vapid_private_key", str(error)
        if not _SUBJECT.fullmatch(self.vapid_subject):
            yield "vapid_subject", f"must be like mailto:you@host or https://host, not {self.vapid_subject!r}"
        url = self.push_sandbox_url
        if url and (not LOOPBACK.fullmatch(url) or url_problem(url)):
            yield "push_sandbox_url", "must begin with http://127.0.0.1: pushes go only there"
