"""Currencies and amounts, by ISO 4217."""

from decimal import Decimal
from typing import Annotated

import msgspec
from iso4217 import Currency

from shared.contracts.patterns import whole

#: ISO 4217, capitals.
CurrencyCode = Annotated[str, msgspec.Meta(pattern=whole("[A-Z]{3}"))]
#: As text, so that no cent is lost on the way; "1250.00".
Amount = Annotated[str, msgspec.Meta(pattern=whole(r"[0-9]{1,10}(\.[0-9]{1,4})?"))]

_CODES = frozenset(currency.value for currency in Currency)


def check_currency(field: str, code: str) -> None:
    """Raises ValueError for a code that ISO 4217 does not know."""
    if code not in _CODES:
        raise ValueError(f"{field} must be an ISO 4217 code like INR or USD; {code} is none")


def decimals(code: str) -> int:
    """How many decimals an amount in this currency is written with; 2 where it has no units, as gold."""
    digits = Currency(code).exponent
    return 2 if digits is None else digits


def major_units(amount_minor: int, currency: str) -> str:
    """The amount as people write it: "1,250.00" for 125000 INR."""
    digits = decimals(currency)
    return f"{Decimal(amount_minor).scaleb(-digits):,.{digits}f}"


def minor_units(amount: str, currency: str) -> int:
    """The amount in the smallest unit of its currency: 1250 for "12.50" USD, 12 for "12" JPY.

    Raises ValueError for zero, for more decimals than the currency has, for an unknown currency.
    """
    check_currency("currency", currency)
    digits = Currency(currency).exponent
    if digits is None:
        raise ValueError(f"currency must be one that people pay with; {currency} has no units")
    scaled = Decimal(amount).scaleb(digits)
    if scaled != scaled.to_integral_value():
        raise ValueError(f"amount must have at most {digits} decimals in {currency}")
    if scaled <= 0:
        raise ValueError("amount must be more than 0")
    return int(scaled)
