"""All tables of the hotel application."""

from piccolo.table import Table

from shared.domain import accounts, billing, hotels, inbox, mailing, pricing

TABLES: tuple[type[Table], ...] = (
    *accounts.TABLES,
    *mailing.TABLES,
    *hotels.TABLES,
    *pricing.TABLES,
    *inbox.TABLES,
    *billing.TABLES,
)
