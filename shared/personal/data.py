"""How platform and applications say what they store of accounts; `directory` puts it together.

An application names it in `Application.personal_data`. A test compares it with the schema: a column that
refers to an account and is not named fails it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from shared.ledger.statement import Statement


class Then(StrEnum):
    """What becomes of a row when its account is erased."""

    DELETE = "delete"
    #: The row stays, and its column that refers to the account becomes null.
    DETACH = "detach"
    #: The row stays as it is: it knows the account by its number only.
    KEEP = "keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows of a table that refer to an account."""

    table: str
    #: Holds the id of the account.
    column: str
    then: Then
    #: Columns that are unique together; the export reads pages in their order.
    key: tuple[str, ...] = ("id",)
    #: False where the row is about something else than the account, or the export shows it in another way.
    is_exported: bool = True
    #: Further columns that become null with DETACH, because they may hold words about the person.
    cleared: tuple[str, ...] = ()
    #: Columns that hold JSON.
    documents: frozenset[str] = frozenset()
    #: Secrets that no export contains.
    withheld: frozenset[str] = frozenset()

    def erasing(self) -> Statement:
        """Erases up to `limit` rows of `account`, and returns one row for each. Rows to keep have none."""
        some = (
            f"WHERE ctid = ANY(ARRAY(SELECT ctid FROM {self.table} "
            f'WHERE "{self.column}" = :account::bigint LIMIT :limit)) RETURNING 1'
        )
        if self.then is Then.DELETE:
            return Statement(f"DELETE FROM {self.table} {some}")
        changes = ", ".join(f'"{column}" = NULL' for column in (self.column, *self.cleared))
        return Statement(f"UPDATE {self.table} SET {changes} {some}")

    def page(self, *, is_first: bool) -> Statement:
        """Reads up to `limit` rows of `account`, after the row with the key `after_0`, `after_1` and so on.

        The first page takes no key.
        """
        key = ", ".join(f'"{column}"' for column in self.key)
        last = ", ".join(f":after_{number}" for number in range(len(self.key)))
        return Statement(
            f'SELECT * FROM {self.table} WHERE "{self.column}" = :account::bigint '
            f"{'' if is_first else f'AND ({key}) > ({last})'} ORDER BY {key} LIMIT :limit"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonalData:
    """What an application stores of accounts, beside the tasks that they own or receive."""

    rows: tuple[Rows, ...] = ()
    #: Parameters that hold the id of an account and are no recipient, by the name of the contract.
    about: Mapping[str, str] = field(default_factory=dict)
    #: Names of contracts whose tasks are left to their end once they have started, because half of what they
    #: do would be worse than all of it. Others are canceled.
    finish: frozenset[str] = frozenset()
