"""Where everything that is stored of an account is: what export and erasure go by."""

from collections.abc import Iterable, Sequence

import msgspec

from shared.applications import Application, resolve
from shared.contracts.catalogue import Catalogue
from shared.personal.data import PersonalData, Rows, Then


class Directory:
    """What platform and applications store of accounts, as one."""

    def __init__(self, data: Sequence[PersonalData], catalogue: Catalogue) -> None:
        self.rows: tuple[Rows, ...] = tuple(rows for each in data for rows in each.rows)
        self.erased = tuple(rows for rows in self.rows if rows.then is not Then.KEEP)
        #: Names of contracts whose tasks are left to their end once they have started.
        self.finish = sorted(name for each in data for name in each.finish)
        about = {name: field for each in data for name, field in each.about.items()}
        #: By the name that a task's row may have, the parameter that holds the id of an account.
        self.fields = {
            name: _in_json(contract.params, field)
            for name, contract in catalogue.ever_by_name.items()
            if (field := about.get(contract.name, contract.recipient)) is not None
        }

    @property
    def fields_json(self) -> str:
        """`fields`, as statements take them."""
        return msgspec.json.encode(self.fields).decode()


def read(applications: Iterable[Application], catalogue: Catalogue) -> Directory:
    """The directory of these applications."""
    return Directory([resolve(each.personal_data) for each in applications if each.personal_data], catalogue)


def _in_json(struct: type[msgspec.Struct], field: str) -> str:
    (found,) = [each for each in msgspec.structs.fields(struct) if each.name == field]
    return found.encode_name
