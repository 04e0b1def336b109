"""Lists all Piccolo tables of the hotel application."""

from piccolo.table import Table

from shared.hotel import billing, hotels, inbox, mailing, pricing

TABLES: tuple[type[Table], ...] = (
    *mailing.TABLES,
    *hotels.TABLES,
    *pricing.TABLES,
    *inbox.TABLES,
    *billing.TABLES,
)
