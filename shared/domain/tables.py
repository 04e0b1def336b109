"""All tables of the hotel application."""

from piccolo.table import Table

from shared.domain import accounts, mailing

TABLES: tuple[type[Table], ...] = (*accounts.TABLES, *mailing.TABLES)
