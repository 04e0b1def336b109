"""Tests of the contents of mails: names in headers, prices and savings."""

import email
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from email import policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import getaddresses
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.worker.hotel import mail
from services.worker.hotel.gateways.smtp import WIRE
from services.worker.hotel.mail_header import mailbox, one_line, unstructured
from shared.hotel.contracts.email import PriceAlert

ADDRESS = "guest@often-hotels.example"
ENCODED_WORD = re.compile(rb"=\?[^?\s]+\?[bqBQ]\?[^?\s]*\?=")
#: Hypothesis strategy for people's names: any text, and texts of characters that have a meaning in
#: mail headers.
NAMES = st.text(max_size=100) | st.text(alphabet='Jö ü(),<>@"\\=?._utf-8:;[]', max_size=100)


def sent(name: str) -> bytes:
    message = EmailMessage()
    message["To"] = mailbox("To", name, ADDRESS)
    message["Subject"] = unstructured("Subject", name)
    message.set_content("text")
    return message.as_bytes(policy=WIRE)


def decoded(text: str) -> str:
    """Decode a mail header by RFC 2047: white space between two encoded words is not part of the
    text.
    """
    return str(make_header(decode_header(re.sub(r"\r?\n", "", text))))


@given(NAMES)
@example("Jörg <victim@example.com>, x")
@example("Jörg Müller (Firma)")
@example('Müller, Jörg; x: "y" <a@b>')
@example("=?utf-8?q?victim=40example.com?=, x")
@example("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 " * 9)
@example("\u0c77" + "\U0001d400" * 10 + "00" + "\U0001d400" * 10)
def test_any_name_comes_back_and_adds_no_recipient(name: str) -> None:
    raw = sent(name)
    plain = email.message_from_bytes(raw, policy=policy.compat32)
    ((shown, address),) = getaddresses([str(plain["To"])])
    assert (decoded(shown), address) == (one_line(name), ADDRESS)
    assert decoded(plain["Subject"]) == one_line(name)
    (parsed,) = email.message_from_bytes(raw, policy=policy.default)["To"].addresses
    assert parsed.addr_spec == ADDRESS
    assert max(map(len, ENCODED_WORD.findall(raw)), default=0) <= 75


def test_every_person_in_a_mail_is_written_by_the_same_rules() -> None:
    message = mail.build(
        "welcome",
        {"user_name": "Jörg", "welcome_bonus": 50},
        task_id=UUID(int=1),
        sender=("Öften, Hotels <x@example.com>", "hello@often-hotels.example"),
        to=("Jörg <victim@example.com>, x", ADDRESS),
        domain="often-hotels.example",
    )
    read = email.message_from_bytes(message.as_bytes(policy=WIRE), policy=policy.default)
    people = [(one.display_name, one.addr_spec) for field in ("From", "To") for one in read[field].addresses]
    assert people == [
        ("Öften, Hotels <x@example.com>", "hello@often-hotels.example"),
        ("Jörg <victim@example.com>, x", ADDRESS),
    ]


@pytest.mark.parametrize(
    ("currency", "old", "new", "shown"),
    [
        ("INR", 9000, 7500.5, ("9,000.00", "7,500.50", "17")),
        ("JPY", 12_000, 7_500, ("12,000", "7,500", "38")),
        ("KWD", 10.1234, 5, ("10.123", "5.000", "51")),
        ("INR", 9000, 8999.99, ("9,000.00", "8,999.99", "less than 1")),
        ("JPY", 9000.4, 9000.3, ("9,000.4", "9,000.3", "less than 1")),
        ("INR", 9000, 0.01, ("9,000.00", "0.01", "more than 99")),
    ],
)
def test_prices_have_the_decimals_of_their_currency_and_a_saving_that_is_true(
    currency: str, old: float, new: float, shown: tuple[str, str, str]
) -> None:
    alert = PriceAlert(hotel_name="Sea View", currency=currency, old_price=old, new_price=new)
    values = mail.price_alert_values(alert, "Asha", "https://hotels.example/unsubscribe")
    assert (values["old_price"], values["new_price"], values["saving"]) == shown


def test_a_currency_that_iso_4217_does_not_know_is_refused_by_its_field() -> None:
    with pytest.raises(ValueError, match="currency must be an ISO 4217 code like INR or USD; ZZZ is not one"):
        PriceAlert(hotel_name="Sea View", currency="ZZZ", old_price=2, new_price=1)


def built(template: str, values: dict[str, Any]) -> EmailMessage:
    return mail.build(
        template,
        values,
        task_id=UUID(int=1),
        sender=("Often Hotels", "hello@often-hotels.example"),
        to=("Asha", ADDRESS),
        domain="often-hotels.example",
    )


def parts_of(message: EmailMessage) -> list[str]:
    """The texts of the plain part and of the HTML part of a mail."""
    return [part.get_content() for part in message.iter_parts() if isinstance(part, EmailMessage)]


def test_a_receipt_says_what_was_paid_in_the_decimals_of_its_currency() -> None:
    paid_at = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)
    for minor, currency, shown in ((125_000, "INR", "1,250.00 INR"), (12, "JPY", "12 JPY")):
        values = mail.receipt_values(minor, currency, "pi_1", paid_at)
        message = built("receipt", values | {"user_name": "Asha <Rao>"})
        assert message["Subject"] == f"Receipt for your payment of {shown}"
        text, html = parts_of(message)
        for said in (shown, "2026-11-30", "pi_1"):
            assert said in text
            assert said in html
        assert "Asha <Rao>" in text
        assert "Asha &lt;Rao&gt;" in html


def test_a_digest_lists_what_has_fallen_and_how_to_end_it() -> None:
    drop: dict[str, Any] = {
        "hotel_name": "Sea & View",
        "destination": None,
        "check_in": date(2026, 12, 7),
        "check_out": date(2026, 12, 8),
        "price": Decimal("7500"),
        "previous_price": Decimal("10000.5"),
        "currency": "INR",
    }
    yen = {"currency": "JPY", "price": Decimal("7500.00"), "previous_price": Decimal("10000.00")}
    drops = [drop, drop | {"destination": "Goa"}, drop | yen]
    values = mail.digest_values(drops, "Asha", "https://o.example/u/1")
    text, html = parts_of(built("digest", values))
    assert text.count("7,500.00 INR instead of 10,000.50 INR") == 2
    assert "- Sea & View in Goa, 2026-12-07 to 2026-12-08:" in text
    assert "7,500 JPY instead of 10,000 JPY" in text
    assert html.count("Sea &amp; View") == 3
    for part in (text, html):
        assert "https://o.example/u/1" in part
