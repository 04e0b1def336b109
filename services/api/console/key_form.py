"""The form of a new API key: its fields, their validation and its error messages.

This module does no I/O.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from services.api.console import numbers
from services.api.identity.key_schemas import DEFAULT_DAYS, MAX_DAYS, MAX_NAME, NewKeyBody
from shared.contracts import broken_rules
from shared.errors import FieldProblem, InvalidFields

_RULES: Final = {
    "name": f"must have 1 to {MAX_NAME} characters",
    "scopes": "choose at least one of them",
    "expires_in_days": f"must be a whole number from 1 to {MAX_DAYS}",
}


class KeyForm(NamedTuple):
    """The values of the API key form, as the page shows them."""

    name: str = ""
    expires_in_days: str = str(DEFAULT_DAYS)
    scopes: Sequence[str] = ()
    #: The rule that each invalid field breaks, by field name.
    rules: Mapping[str, str] = {}

    def body(self) -> NewKeyBody:
        """Validate the form and return the request that creates the key. Raises InvalidFields."""
        days = numbers.read(self.expires_in_days)
        raw: dict[str, Any] = {
            "name": self.name,
            "scopes": list(self.scopes),
            "expires_in_days": self.expires_in_days if days is None else days,
        }
        if problems := broken_rules.find(raw, NewKeyBody, ""):
            fields = dict.fromkeys(each.field.partition("[")[0] for each in problems)
            raise InvalidFields([FieldProblem(field, _RULES[field]) for field in fields])
        return msgspec.convert(raw, NewKeyBody)


def read(form: Any) -> KeyForm:
    """Read the API key form that a request contains."""
    return KeyForm(
        name=str(form.get("name", "")).strip(),
        expires_in_days=str(form.get("expires_in_days", "")).strip(),
        scopes=[str(each) for each in form.getall("scopes", [])],
    )
