"""The list of most common passwords, which new passwords must not match, from the package zxcvbn.

Only passwords of at least the minimum length are used. ASVS 5.0, 6.2.4, requires the 3,000 most
common passwords of that length. The package has 11,600.
"""

from zxcvbn.frequency_lists import FREQUENCY_LISTS

from services.api.identity.account_schemas import MIN_PASSWORD

COMMON = frozenset(
    password.casefold() for password in FREQUENCY_LISTS["passwords"] if len(password) >= MIN_PASSWORD
)
