"""Tests that amounts of money have the format that the payment service accepts."""

import msgspec
import pytest

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
