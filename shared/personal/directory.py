"""Lists everything that the database stores about an account, for exporting and erasing personal
data.
"""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from shared.applications import Application, resolve
from shared.contracts.catalogue import Catalogue
from shared.personal.data import PersonalData, Rows, Then


class Directory:
    """The combined declarations of what the platform and the applications store about accounts."""

    def __init__(self, data: Sequence[PersonalData], catalogue: Catalogue) -> None:
        self.rows: tuple[Rows, ...] = tuple(rows for each in data for rows in each.rows)
        self.erased = tuple(rows for rows in self.rows if rows.then is not Then.KEEP)
        #: Names of contracts whose tasks the erasure of an account does not cancel once they have
        #: started.
        self.finish = _ever(catalogue, data, lambda each: each.finish)
        #: Names of contracts whose tasks the erasure of an account never cancels.
        self.owed = _ever(catalogue, data, lambda each: each.owed)
        about = {name: field for each in data for name, field in each.about.items()}
        #: Maps each current or former name of a task to its parameter that contains the id of an
        #: account.
        self.fields = {
            name: _in_json(contract.params, field)
            for name, contract in catalogue.ever_by_name.items()
            if (field := about.get(contract.name, contract.recipient)) is not None
        }

    @property
    def fields_json(self) -> str:
        """The map `fields` as JSON, for use as a parameter of SQL statements."""
        return msgspec.json.encode(self.fields).decode()


def read(applications: Iterable[Application], catalogue: Catalogue) -> Directory:
    """Combine the declarations of the platform and these applications."""
    return Directory([resolve(each.personal_data) for each in applications if each.personal_data], catalogue)


def _ever(
    catalogue: Catalogue, data: Sequence[PersonalData], chosen: Callable[[PersonalData], frozenset[str]]
) -> list[str]:
    """Every current or former name under which tasks of the chosen contracts may be stored."""
    names = frozenset[str]().union(*map(chosen, data))
    return sorted(name for name, contract in catalogue.ever_by_name.items() if contract.name in names)


def _in_json(struct: type[msgspec.Struct], field: str) -> str:
    (found,) = [each for each in msgspec.structs.fields(struct) if each.name == field]
    return found.encode_name
