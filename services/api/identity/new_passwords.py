"""Refuses new passwords that are too easy to guess. Their length is checked elsewhere, with the
request body.

The source of the rules is NIST SP 800-63B-4, 3.1.1.2. It requires no mix of character types, but a
list of refused passwords that includes context-specific words.
"""

import re
from collections.abc import Iterable

from services.api.identity.common_passwords import COMMON
from shared.errors import FieldProblem, InvalidFields

#: A password that contains context words, such as the product's name, must have more than this
#: number of other letters and digits.
MAX_BESIDE = 5
#: Parts of an address shorter than this are not context words, because they occur by chance in many
#: good passwords.
MIN_WORD = 3

_SEPARATOR = re.compile(r"[\W_]+")
_NO_LETTER = re.compile(r"[\W\d_]+")


def check_new(field: str, password: str, address: str, words: Iterable[str] = ()) -> None:
    """Check a new password. `words` are context words that are easy to guess, such as the names of
    the product and of the company. Raises InvalidFields.
    """
    if rule := _broken_rule(password.casefold(), address, words):
        raise InvalidFields([FieldProblem(field, f"{rule}: choose another one")])


def _broken_rule(password: str, address: str, words: Iterable[str]) -> str | None:
    if len(set("".join(password.split()))) < 2:
        return "must not be blank or one character repeated"
    if password in COMMON:
        return "is one of the most common passwords"
    if _is_made_of(password, [address, *_SEPARATOR.split(address), *_NO_LETTER.split(address)]):
        return "must not be your email address or a part of it"
    if _is_made_of(password, [part for word in words for part in (word, *word.split())]):
        return "must not be a name of this service or its company"
    return None


def _is_made_of(password: str, words: Iterable[str]) -> bool:
    """True if the password consists of these words and few other characters. Longer words are
    removed from it first.
    """
    whole = rest = _SEPARATOR.sub("", password)
    stripped = {_SEPARATOR.sub("", word.casefold()) for word in words}
    for word in sorted(stripped, key=len, reverse=True):
        if len(word) >= MIN_WORD:
            rest = rest.replace(word, "")
    return rest != whole and len(rest) <= MAX_BESIDE
