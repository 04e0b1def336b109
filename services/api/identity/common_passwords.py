"""Passwords that are guessed first: those of the package zxcvbn that are long enough to be chosen here.

ASVS 5.0, 6.2.4, asks for the 3,000 most common ones of at least the minimum length; the package has 11,600.
"""

from zxcvbn.frequency_lists import FREQUENCY_LISTS

from services.api.identity.account_schemas import MIN_PASSWORD

COMMON = frozenset(
    password.casefold() for password in FREQUENCY_LISTS["passwords"] if len(password) >= MIN_PASSWORD
)
