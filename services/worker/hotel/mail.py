"""Builds mail from Jinja2 templates: `<name>.subject.j2`, `<name>.txt.j2` and `<name>.html.j2`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any
from uuid import UUID

import jinja2
import msgspec

from services.worker.hotel import mail_header
from shared.hotel.contracts.email import PriceAlert
from shared.hotel.contracts.money import decimals, major_units


@dataclass(frozen=True, slots=True)
class PublicLinks:
    """Addresses that people open from a mail."""

    #: Of the API as it is reached from outside, without a slash at the end.
    public_url: str

    def verify(self, token: str) -> str:
        return f"{self.public_url}/verify/{token}"

    def unsubscribe(self, token: object) -> str:
        return f"{self.public_url}/unsubscribe/{token}"


#: Prices that differ by less than this are written in full.
MAX_DECIMALS = 7

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("services.worker.hotel"),
    autoescape=lambda name: bool(name and name.endswith(".html.j2")),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


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
    message["From"] = mail_header.mailbox("From", *sender)
    message["To"] = mail_header.mailbox("To", *to)
    message["Subject"] = mail_header.unstructured("Subject", _render(f"{template}.subject.j2", values))
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
    old_price, new_price = _prices(alert)
    return {
        **msgspec.structs.asdict(alert),
        "user_name": user_name,
        "old_price": old_price,
        "new_price": new_price,
        "saving": _saving(100 * (1 - alert.new_price / alert.old_price)),
        "unsubscribe_url": unsubscribe_url,
    }


def receipt_values(
    amount_minor: int, currency: str, transaction: str | None, paid_at: datetime
) -> dict[str, Any]:
    """What the templates of a receipt show, except for the name."""
    return {
        "amount": f"{major_units(amount_minor, currency)} {currency}",
        "transaction": transaction or "",
        "paid_on": paid_at.astimezone(UTC).date(),
    }


def digest_values(drops: Sequence[Mapping[str, Any]], user_name: str, unsubscribe_url: str) -> dict[str, Any]:
    """What the templates of a digest show."""
    shown = [
        {
            **{name: row[name] for name in ("hotel_name", "destination", "check_in", "check_out")},
            **{name: f"{row[name]:,.2f} {row['currency']}" for name in ("price", "previous_price")},
        }
        for row in drops
    ]
    return {"user_name": user_name, "drops": shown, "unsubscribe_url": unsubscribe_url}


def _prices(alert: PriceAlert) -> tuple[str, str]:
    """Old and new price with the decimals of their currency; with more where they would look equal."""
    for digits in range(decimals(alert.currency), MAX_DECIMALS):
        old, new = f"{alert.old_price:,.{digits}f}", f"{alert.new_price:,.{digits}f}"
        if old != new:
            return old, new
    return str(alert.old_price), str(alert.new_price)


def _saving(percent: float) -> str:
    if percent < 1:
        return "less than 1"
    return "more than 99" if percent > 99 else f"{percent:.0f}"


def _render(name: str, values: dict[str, Any]) -> str:
    return _TEMPLATES.get_template(name).render(values)
