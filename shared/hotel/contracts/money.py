"""Types and functions for currencies and amounts of money, according to ISO 4217."""

from decimal import Decimal
from typing import Annotated

import msgspec
from iso4217 import Currency

from shared.contracts.patterns import whole

#: A currency code of ISO 4217 in capital letters.
CurrencyCode = Annotated[str, msgspec.Meta(pattern=whole("[A-Z]{3}"))]
#: A decimal amount of money such as "1250.00". It is a string, so that it is never rounded.
Amount = Annotated[str, msgspec.Meta(pattern=whole(r"[0-9]{1,10}(\.[0-9]{1,4})?"))]

_CODES = frozenset(currency.value for currency in Currency)


def check_currency(field: str, code: str) -> None:
    """Check a currency code. Raises ValueError if ISO 4217 does not list it."""
    if code not in _CODES:
        raise ValueError(f"{field} must be an ISO 4217 code like INR or USD; {code} is not one")


def decimals(code: str) -> int:
    """Return the number of decimals of a currency.

    It is 2 if ISO 4217 defines none, as for gold.
    """
    digits = Currency(code).exponent
    return 2 if digits is None else digits


def major_units(amount_minor: int, currency: str) -> str:
    """Format an amount as people write it, such as "1,250.00" for 125000 paise (INR)."""
    digits = decimals(currency)
    return f"{Decimal(amount_minor).scaleb(-digits):,.{digits}f}"


def main_units(amount_minor: int, currency: str) -> str:
    """Convert an amount from the smallest unit of its currency, such as 1250 to "12.50" USD.

    The inverse of `minor_units`.
    """
    return f"{Decimal(amount_minor).scaleb(-decimals(currency)):f}"


def minor_units(amount: str, currency: str) -> int:
    """Convert an amount to the smallest unit of its currency.

    For example, "12.50" USD is 1250, and "12" JPY is 12. Raises ValueError for zero, for too many
    decimals, and for an unknown currency.
    """
    check_currency("currency", currency)
    digits = Currency(currency).exponent
    if digits is None:
        raise ValueError(f"currency must be one in which amounts are paid, such as EUR; {currency} is not")
    scaled = Decimal(amount).scaleb(digits)
    if scaled != scaled.to_integral_value():
        raise ValueError(f"amount must have at most {digits} decimals in {currency}")
    if scaled <= 0:
        raise ValueError("amount must be more than 0")
    return int(scaled)
