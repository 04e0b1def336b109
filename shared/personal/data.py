"""Declares what the platform and the applications store about accounts. The module `directory`
combines the declarations.

An application sets `Application.personal_data` to its declaration. A test compares the declarations
with the database schema, and fails if a column that refers to an account is not declared.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from shared.ledger.statement import Statement


class Then(StrEnum):
    """What happens to a row when its account is erased."""

    DELETE = "delete"
    #: DETACH: the row stays, and its reference to the erased account is set to null.
    DETACH = "detach"
    #: KEEP: the row stays unchanged, because it contains nothing about the account except its id.
    KEEP = "keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Declares which rows of one table refer to an account."""

    table: str
    #: Name of the column that contains the id of the account.
    column: str
    then: Then
    #: Names of the columns that are unique together. The export of personal data reads the rows
    #: page by page in the order of these columns.
    key: tuple[str, ...] = ("id",)
    #: False if the export of personal data leaves these rows out, because they are not about the
    #: account or because the export shows them in another way.
    is_exported: bool = True
    #: Names of additional columns that DETACH sets to null, because they may contain text about the
    #: person.
    cleared: tuple[str, ...] = ()
    #: Names of the columns that contain JSON.
    documents: frozenset[str] = frozenset()
    #: Names of the columns that contain secrets. Exports never include them.
    withheld: frozenset[str] = frozenset()

    def erasing(self) -> Statement:
        """SQL that erases up to `limit` rows of the account `account` and returns one row for each.
        None if the rows of this table are kept.
        """
        some = (
            f"WHERE ctid = ANY(ARRAY(SELECT ctid FROM {self.table} "
            f'WHERE "{self.column}" = :account::bigint LIMIT :limit)) RETURNING 1'
        )
        if self.then is Then.DELETE:
            return Statement(f"DELETE FROM {self.table} {some}")
        changes = ", ".join(f'"{column}" = NULL' for column in (self.column, *self.cleared))
        return Statement(f"UPDATE {self.table} SET {changes} {some}")

    def page(self, *, is_first: bool) -> Statement:
        """SQL that reads the next page of an account's rows, up to `limit` rows.

        The page begins after the row whose key columns have the values `after_0`, `after_1` and so
        on. The SQL for the first page has no such parameters.
        """
        key = ", ".join(f'"{column}"' for column in self.key)
        last = ", ".join(f":after_{number}" for number in range(len(self.key)))
        return Statement(
            f'SELECT * FROM {self.table} WHERE "{self.column}" = :account::bigint '
            f"{'' if is_first else f'AND ({key}) > ({last})'} ORDER BY {key} LIMIT :limit"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonalData:
    """Declares what an application stores about accounts, apart from tasks that an account owns or
    receives.
    """

    rows: tuple[Rows, ...] = ()
    #: Tasks that are about another account than their recipient. Maps the name of a contract to the
    #: parameter that contains this account's id.
    about: Mapping[str, str] = field(default_factory=dict)
    #: Names of contracts whose tasks are not canceled by an erasure once they have started, because
    #: half-finished work would be worse than finished work.
    finish: frozenset[str] = frozenset()
    #: Names of contracts whose tasks are owed to a customer, such as a refund. The erasure of an
    #: account never cancels them, and it does not cancel their workflow before they have ended.
    owed: frozenset[str] = frozenset()
