"""Builds mail from Jinja2 templates: `<name>.subject.j2`, `<name>.txt.j2` and `<name>.html.j2`."""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, formataddr
from typing import Any
from uuid import UUID

import jinja2
import msgspec

from shared.hotel.contracts.email import PriceAlert


@dataclass(frozen=True, slots=True)
class PublicLinks:
    """Addresses that people open from a mail."""

    #: Of the API as it is reached from outside, without a slash at the end.
    public_url: str

    def unsubscribe(self, token: object) -> str:
        return f"{self.public_url}/unsubscribe/{token}"


_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("services.worker.hotel"),
    autoescape=lambda name: bool(name and name.endswith(".html.j2")),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def one_line(text: str) -> str:
    """User text for a header: no line breaks, no control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def build(
    template: str,
    values: dict[str, Any],
    *,
    task_id: UUID,
    sender: tuple[str, str],
    to: tuple[str, str],
    domain: str,
) -> EmailMessage:
    """A message with a text and an HTML part; `sender` and `to` are (name, address).

    The Message-ID comes from the task, so that a receiver can tell the copy that a rerun may send.
    """
    message = EmailMessage()
    message["From"] = formataddr((one_line(sender[0]), sender[1]))
    message["To"] = formataddr((one_line(to[0]), to[1]))
    message["Subject"] = one_line(_render(f"{template}.subject.j2", values))
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = f"<{task_id}.{template}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(_render(f"{template}.txt.j2", values))
    message.add_alternative(_render(f"{template}.html.j2", values), subtype="html")
    return message


def let_unsubscribe(message: EmailMessage, url: str) -> None:
    """One click in the mail program, RFC 2369 and RFC 8058; bulk mail needs it."""
    message["List-Unsubscribe"] = f"<{url}>"
    message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"


def price_alert_values(alert: PriceAlert, user_name: str, unsubscribe_url: str) -> dict[str, Any]:
    """What the templates of a price alert show."""
    return {
        **msgspec.structs.asdict(alert),
        "user_name": user_name,
        "old_price": f"{alert.old_price:,.2f}",
        "new_price": f"{alert.new_price:,.2f}",
        "saving_percent": round(100 * (1 - alert.new_price / alert.old_price)),
        "unsubscribe_url": unsubscribe_url,
    }


def _render(name: str, values: dict[str, Any]) -> str:
    return _TEMPLATES.get_template(name).render(values)
