"""Payments: one row each, which the charge at the payment service is derived from."""

from piccolo.columns import UUID, BigInt, ForeignKey, Integer, Text, Timestamptz
from piccolo.columns.defaults.uuid import UUID4
from piccolo.table import Table

from shared.domain.accounts import User


class Payment(Table, tablename="payment"):
    """What one task is to charge; unique by task."""

    id = UUID(primary_key=True, default=UUID4())
    user = ForeignKey(User, null=False)
    task = UUID(unique=True)
    #: In the smallest unit of the currency: cents, paise, yen.
    amount_minor = BigInt()
    #: ISO 4217.
    currency = Text()
    #: created, unknown, processing, requires_action, succeeded, declined, failed.
    status = Text()
    #: The service's own number, `pi_…`.
    intent = Text(null=True, default=None)
    #: Part of the idempotency key; a new one is a new charge.
    key_number = Integer(default=1)
    #: When the key was first used. The service forgets it a day later.
    key_used_at = Timestamptz(null=True, default=None)
    error_code = Text(null=True, default=None)
    error_message = Text(null=True, default=None)
    created_at = Timestamptz()
    updated_at = Timestamptz()


TABLES: tuple[type[Table], ...] = (Payment,)

#: The same row for every attempt of one task. values: user, task, amount_minor, currency.
OPEN_PAYMENT = """
    INSERT INTO payment AS p ("user", task, amount_minor, currency, status) VALUES ({}, {}, {}, {}, 'created')
    ON CONFLICT (task) DO UPDATE SET status = p.status
    RETURNING id, status, intent, key_number, key_used_at, created_at
"""

#: Before the first request: from then on the outcome may be unknown. values: id. Returns key_used_at.
USE_KEY = """
    UPDATE payment SET status = 'unknown', key_used_at = coalesce(key_used_at, now()), updated_at = now()
    WHERE id = {} RETURNING key_used_at
"""

#: values: status, intent, error_code, error_message, id.
SETTLE = """
    UPDATE payment SET status = {}, intent = coalesce({}, intent), error_code = {}, error_message = {},
        updated_at = now()
    WHERE id = {}
"""

#: values: id.
PAYMENT = """
    SELECT id, "user", amount_minor, currency, status, intent, key_number, key_used_at, created_at
    FROM payment WHERE id = {}
"""
