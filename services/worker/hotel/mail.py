"""Builds mail messages from Jinja2 templates.

Each mail has the templates `<name>.subject.j2`, `<name>.txt.j2` and `<name>.html.j2`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
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
    """Builds the links in mails that people open."""

    #: Public base URL of the API, without a slash at the end.
    public_url: str

    def verify(self, token: str) -> str:
        return f"{self.public_url}/verify/{token}"

    def unsubscribe(self, token: object) -> str:
        return f"{self.public_url}/unsubscribe/{token}"


#: Maximum number of decimals of a price. If two prices would look equal with the usual decimals,
#: they are written with more, up to this number. If that is not enough, they are written in full.
MAX_DECIMALS = 6

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
    """Build a message with a text part and an HTML part.

    `sender` and `to` are pairs of a name and an address. The Message-ID is derived from the task's
    id, so that a receiver recognizes a copy if the task runs again.
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
    """Add the headers for one-click unsubscribing, which bulk mail needs (RFC 2369, RFC 8058)."""
    message["List-Unsubscribe"] = f"<{url}>"
    message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"


def price_alert_values(alert: PriceAlert, user_name: str, unsubscribe_url: str) -> dict[str, Any]:
    """Return the values for the templates of a price alert."""
    old_price, new_price = _prices(alert.old_price, alert.new_price, alert.currency)
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
    """Return the values for the templates of a payment receipt, except the user's name."""
    return {
        "amount": f"{major_units(amount_minor, currency)} {currency}",
        "transaction": transaction or "",
        "paid_on": paid_at.astimezone(UTC).date(),
    }


def digest_values(drops: Sequence[Mapping[str, Any]], user_name: str, unsubscribe_url: str) -> dict[str, Any]:
    """Return the values for the templates of a price digest."""
    return {
        "user_name": user_name,
        "drops": [_drop_values(row) for row in drops],
        "unsubscribe_url": unsubscribe_url,
    }


def _drop_values(row: Mapping[str, Any]) -> dict[str, Any]:
    old_price, new_price = _prices(row["previous_price"], row["price"], row["currency"])
    return {
        **{name: row[name] for name in ("hotel_name", "destination", "check_in", "check_out")},
        "previous_price": f"{old_price} {row['currency']}",
        "price": f"{new_price} {row['currency']}",
    }


def _prices(old_price: float | Decimal, new_price: float | Decimal, currency: str) -> tuple[str, str]:
    """Format the old and the new price with the usual decimals of their currency.

    If they would look equal, they get more decimals.
    """
    for digits in range(decimals(currency), MAX_DECIMALS + 1):
        old, new = f"{old_price:,.{digits}f}", f"{new_price:,.{digits}f}"
        if old != new:
            return old, new
    return str(old_price), str(new_price)


def _saving(percent: float) -> str:
    if percent < 1:
        return "less than 1"
    return "more than 99" if percent > 99 else f"{percent:.0f}"


def _render(name: str, values: dict[str, Any]) -> str:
    return _TEMPLATES.get_template(name).render(values)
