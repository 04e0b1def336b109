"""Payments: one row each, which the charge at the payment service is derived from."""

from piccolo.columns import UUID, BigInt, ForeignKey, Integer, Text, Timestamptz
from piccolo.columns.defaults.uuid import UUID4
from piccolo.table import Table

from shared.identity.tables import User


class Payment(Table, tablename="payment"):
    """What one task is to charge; unique by task."""

    id = UUID(primary_key=True, default=UUID4())
    #: Null once the account is erased.
    user = ForeignKey(User, null=True, default=None)
    task = UUID(unique=True)
    #: In the smallest unit of the currency: cents, paise, yen.
    amount_minor = BigInt()
    #: ISO 4217.
    currency = Text()
    #: created, unknown, processing, requires_action, succeeded, declined, failed, refunded.
    status = Text()
    #: The service's own number, `pi_…`.
    intent = Text(null=True, default=None)
    #: Part of the idempotency key; a new one is a new charge, made only where none was found for the old one.
    key_number = Integer(default=1)
    #: When the key was first used. The service forgets it a day later.
    key_used_at = Timestamptz(null=True, default=None)
    error_code = Text(null=True, default=None)
    error_message = Text(null=True, default=None)
    #: The service's own number of the refund, `re_…`.
    refund = Text(null=True, default=None)
    refunded_at = Timestamptz(null=True, default=None)
    created_at = Timestamptz()
    updated_at = Timestamptz()


class PaymentCustomer(Table, tablename="payment_customer"):
    """A customer of the payment service, and the only account that may be charged as this customer."""

    #: The service's own number, `cus_…`.
    customer = Text(primary_key=True)
    user = ForeignKey(User, null=False)
    created_at = Timestamptz()


TABLES: tuple[type[Table], ...] = (Payment, PaymentCustomer)

#: Of a payment whose status does not change any more.
FINAL = frozenset({"succeeded", "declined", "failed", "refunded"})
#: The service forgets a key after 24 h; an hour less leaves room for the last request under it.
KEY_LIFE_H = 23

_ROW = f"""
    id, "user", amount_minor, currency, status, intent, key_number, key_used_at, error_code, error_message,
    refund, created_at, updated_at,
    coalesce(key_used_at < now() - interval '{KEY_LIFE_H} h', false) AS key_is_old
"""

#: The same row for every attempt of one task; nothing for a user who is not there, or is switched off before
#: the first one. values: task, amount_minor, currency, user, task.
OPEN_PAYMENT = f"""
    INSERT INTO payment AS p ("user", task, amount_minor, currency, status)
    SELECT a.id, {{}}::uuid, {{}}::bigint, {{}}::text, 'created' FROM account AS a
    WHERE a.id = {{}} AND (a.is_active OR EXISTS (SELECT 1 FROM payment WHERE task = {{}}::uuid))
    ON CONFLICT (task) DO UPDATE SET status = p.status
    RETURNING {_ROW}
"""

#: Returns the account that the customer belongs to afterwards: the first one stays. Nothing for an account
#: that does not exist. values: customer, user.
BIND_CUSTOMER = """
    INSERT INTO payment_customer AS c (customer, "user") SELECT {}::text, id FROM account WHERE id = {}
    ON CONFLICT (customer) DO UPDATE SET "user" = c."user"
    RETURNING "user"
"""

#: A row if the customer belongs to this account. values: customer, user.
OWN_CUSTOMER = """SELECT 1 FROM payment_customer WHERE customer = {} AND "user" = {}"""

#: values: id.
PAYMENT = f"SELECT {_ROW} FROM payment WHERE id = {{}}"

#: Before the request: from then on the outcome may be unknown. Nothing when somebody else was faster.
#: values: key_number to use, twice; id, key_number that was read.
USE_KEY = f"""
    UPDATE payment SET status = 'unknown', updated_at = now(), key_number = {{}},
        key_used_at = CASE WHEN key_number = {{}} THEN coalesce(key_used_at, now()) ELSE now() END
    WHERE id = {{}} AND key_number = {{}} AND status IN ('created', 'unknown')
    RETURNING {_ROW}
"""

#: What the service refused before it did anything. values: status as it was before, error_message, id,
#: key_number.
NOTE_REFUSAL = """
    UPDATE payment SET status = {}, error_message = {}, updated_at = now()
    WHERE id = {} AND key_number = {} AND status = 'unknown'
"""

#: Nothing when it is final already, or another key was used meanwhile. values: status, intent, error_code,
#: error_message, id, key_number.
SETTLE = f"""
    UPDATE payment SET status = {{}}, intent = coalesce({{}}, intent), error_code = {{}},
        error_message = {{}}, updated_at = now()
    WHERE id = {{}} AND key_number = {{}} AND status NOT IN ('succeeded', 'declined', 'failed', 'refunded')
    RETURNING {_ROW}
"""

#: The payment of the charge in the workflow of a task. values: task.
PAYMENT_OF_WORKFLOW = f"""
    SELECT {_ROW} FROM payment WHERE task = (
        SELECT s.task FROM task AS t JOIN workflow_step AS s ON s.workflow = t.workflow
        WHERE t.id = {{}} AND s.contract = 'payments.process'
    )
"""

#: values: refund, id. Nothing when no money is there to be refunded any more.
NOTE_REFUND = f"""
    UPDATE payment SET status = 'refunded', refund = {{}}, refunded_at = now(), updated_at = now()
    WHERE id = {{}} AND status = 'succeeded'
    RETURNING {_ROW}
"""

#: Of payments that are looked after, one is looked at each 6 h at least, and tried for half a day.
LEFT_OPEN = f"""
    SELECT id FROM payment
    WHERE status IN ('unknown', 'processing', 'requires_action') AND updated_at < now() - interval '12 h'
        AND (status <> 'unknown' OR key_used_at < now() - interval '{KEY_LIFE_H} h')
        AND created_at > now() - interval '15 days'
    ORDER BY created_at LIMIT 1000
"""
