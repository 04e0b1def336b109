"""Tests that amounts of money have the format that the payment service accepts."""

import msgspec
import pytest

from shared.hotel.contracts.money import main_units, minor_units
from shared.hotel.contracts.payments import ProcessPayment


def params(amount: str, currency: str) -> ProcessPayment:
    given = {"user_id": 1, "amount": amount, "currency": currency, "payment_method": "pm_card_visa"}
    return msgspec.convert(given, ProcessPayment)


@pytest.mark.parametrize("currency", ["BHD", "JOD", "KWD", "OMR", "TND"])
def test_the_third_decimal_must_be_zero(currency: str) -> None:
    for amount in ("5", "5.1", "5.12", "5.120"):
        assert params(amount, currency).amount == amount
    for amount in ("5.124", "0.001"):
        with pytest.raises(ValueError, match=f"amount must have 0 as its third decimal in {currency}"):
            params(amount, currency)


@pytest.mark.parametrize(
    ("amount", "currency", "minor", "written"),
    [
        ("1250", "INR", 125_000, "1250.00"),
        ("0.05", "USD", 5, "0.05"),
        ("12", "JPY", 12, "12"),
        ("5.12", "KWD", 5_120, "5.120"),
        ("9999999999.99", "EUR", 999_999_999_999, "9999999999.99"),
    ],
)
def test_an_amount_is_converted_to_the_smallest_unit_and_back(
    amount: str, currency: str, minor: int, written: str
) -> None:
    assert minor_units(amount, currency) == minor
    assert main_units(minor, currency) == written
