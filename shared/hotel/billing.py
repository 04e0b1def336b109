"""Tables and SQL statements of payments: one row for each charge through the payment service.

The request to the payment service is derived from the row.
"""

from piccolo.columns import UUID, BigInt, ForeignKey, Integer, Text, Timestamptz
from piccolo.columns.defaults.uuid import UUID4
from piccolo.table import Table

from shared.identity.tables import User


class Payment(Table, tablename="payment"):
    """A charge through the payment service. Each task has at most one."""

    id = UUID(primary_key=True, default=UUID4())
    #: Id of the account that pays; null after the account was erased.
    user = ForeignKey(User, null=True, default=None)
    task = UUID(unique=True)
    #: Amount of the charge in the smallest unit of its currency: cents, paise, yen.
    amount_minor = BigInt()
    #: Currency code, ISO 4217.
    currency = Text()
    #: Status of the payment: created, unknown, processing, requires_action, succeeded, declined,
    #: failed or refunded.
    status = Text()
    #: Id of the payment intent at the payment service, of the form `pi_…`.
    intent = Text(null=True, default=None)
    #: Number that is a part of the idempotency key of the charge. A new number would cause a second
    #: charge, so it is used only if the service has no charge for the previous number. While the
    #: status is `created`, no request has been sent with this number.
    key_number = Integer(default=1)
    #: Time at which the idempotency key was first used. The payment service forgets the key a day
    #: later.
    key_used_at = Timestamptz(null=True, default=None)
    error_code = Text(null=True, default=None)
    error_message = Text(null=True, default=None)
    #: Id of the refund at the payment service, of the form `re_…`.
    refund = Text(null=True, default=None)
    refunded_at = Timestamptz(null=True, default=None)
    created_at = Timestamptz()
    updated_at = Timestamptz()


class PaymentCustomer(Table, tablename="payment_customer"):
    """The account to which a customer at the payment service belongs.

    Only a payment of this account may charge the customer.
    """

    #: Id of the customer at the payment service, of the form `cus_…`.
    customer = Text(primary_key=True)
    user = ForeignKey(User, null=False)
    created_at = Timestamptz()


TABLES: tuple[type[Table], ...] = (Payment, PaymentCustomer)

#: Statuses of a payment that never change again, except by a refund.
FINAL = frozenset({"succeeded", "declined", "failed", "refunded"})
#: Number of hours for which an idempotency key is used. The payment service forgets it after 24
#: hours. The remaining hour leaves time for the last request.
KEY_LIFE_H = 23

_ROW = f"""
    id, "user", amount_minor, currency, status, intent, key_number, key_used_at, error_code, error_message,
    refund, created_at, updated_at,
    coalesce(key_used_at < now() - interval '{KEY_LIFE_H} h', false) AS key_is_old
"""

#: Creates the payment of a task, or returns the row that an earlier attempt created. Returns no row
#: if the account does not exist, or was deactivated before the first attempt. Placeholders: task,
#: amount_minor, currency, user, task.
OPEN_PAYMENT = f"""
    INSERT INTO payment AS p ("user", task, amount_minor, currency, status)
    SELECT a.id, {{}}::uuid, {{}}::bigint, {{}}::text, 'created' FROM account AS a
    WHERE a.id = {{}} AND (a.is_active OR EXISTS (SELECT 1 FROM payment WHERE task = {{}}::uuid))
    ON CONFLICT (task) DO UPDATE SET status = p.status
    RETURNING {_ROW}
"""

#: Binds a customer of the payment service to an account, unless the customer is already bound, and
#: returns the account of the customer. Returns no row if the account does not exist. Placeholders:
#: customer, user.
BIND_CUSTOMER = """
    INSERT INTO payment_customer AS c (customer, "user") SELECT {}::text, id FROM account WHERE id = {}
    ON CONFLICT (customer) DO UPDATE SET "user" = c."user"
    RETURNING "user"
"""

#: Returns a row if this customer of the payment service belongs to this account. Placeholders:
#: customer, user.
OWN_CUSTOMER = """SELECT 1 FROM payment_customer WHERE customer = {} AND "user" = {}"""

#: Reads one payment. Placeholders: id.
PAYMENT = f"SELECT {_ROW} FROM payment WHERE id = {{}}"

#: Reads one payment and locks its row. Placeholders: id.
PAYMENT_LOCKED = f"{PAYMENT} FOR UPDATE"

#: Records that a request with an idempotency key is about to be sent. From then on, the outcome of
#: the payment is unknown until the service answers. Returns no row if another attempt has changed
#: the payment before. The status must be the one that was read, `created` or `unknown`, because an
#: attempt that has read `created` concludes that no other request is under way.
#:
#: Returns no row either if the payment's task has ended, because a refund may already have found
#: that there is nothing to give back. The task's row is read without a lock, so this statement
#: cannot cause a deadlock with one that writes the task. A payment without a row in `task` can be
#: charged: `often reproduce` runs a task function without a task. Placeholders: key_number to use,
#: twice; id, key_number and status that were read.
USE_KEY = f"""
    UPDATE payment SET status = 'unknown', updated_at = now(), key_number = {{}},
        key_used_at = CASE WHEN key_number = {{}} THEN coalesce(key_used_at, now()) ELSE now() END
    WHERE id = {{}} AND key_number = {{}} AND status = {{}} AND NOT EXISTS (
        SELECT 1 FROM task AS t WHERE t.id = payment.task AND t.completed_at IS NOT NULL
    )
    RETURNING {_ROW}
"""

#: Returns a row if the task of the payment has ended. Placeholders: id.
TASK_ENDED = """
    SELECT 1 FROM payment AS p JOIN task AS t ON t.id = p.task WHERE p.id = {} AND t.completed_at IS NOT NULL
"""

#: Records that the payment service refused a request without doing anything. Changes nothing if the
#: row has changed since USE_KEY, because another attempt may then have sent a request with the same
#: key. Placeholders: status, error_message, key_number and key_used_at to write; id, key_number and
#: updated_at that USE_KEY returned.
NOTE_REFUSAL = """
    UPDATE payment SET status = {}, error_message = {}, updated_at = now(), key_number = {}, key_used_at = {}
    WHERE id = {} AND key_number = {} AND updated_at = {} AND status = 'unknown'
"""

#: Writes the outcome of a charge. Returns no row if the status is already final, or if another
#: idempotency key was used in the meantime. Placeholders: status, intent, error_code,
#: error_message, id, key_number.
SETTLE = f"""
    UPDATE payment SET status = {{}}, intent = coalesce({{}}, intent), error_code = {{}},
        error_message = {{}}, updated_at = now()
    WHERE id = {{}} AND key_number = {{}} AND status NOT IN ('succeeded', 'declined', 'failed', 'refunded')
    RETURNING {_ROW}
"""

#: Reads the payment that was made in the same workflow as the given task, and locks its row.
#: Placeholders: task.
PAYMENT_OF_WORKFLOW_LOCKED = f"""
    SELECT {_ROW} FROM payment WHERE task = (
        SELECT s.task FROM task AS t JOIN workflow_step AS s ON s.workflow = t.workflow
        WHERE t.id = {{}} AND s.contract = 'payments.process'
    ) FOR UPDATE
"""

#: Writes the refund of a payment. Returns no row unless the payment has succeeded and is not yet
#: refunded. Placeholders: refund, id.
NOTE_REFUND = f"""
    UPDATE payment SET status = 'refunded', refund = {{}}, refunded_at = now(), updated_at = now()
    WHERE id = {{}} AND status = 'succeeded'
    RETURNING {_ROW}
"""

#: Returns a row while the workflow of the payment is refunding it. Placeholders: id.
BEING_REFUNDED = """
    SELECT 1 FROM payment AS p JOIN task AS t ON t.id = p.task
        JOIN workflow_step AS s ON s.workflow = t.workflow
    WHERE p.id = {} AND s.contract = 'payments.refund' AND s.state = 'running'
"""

#: Returns a row while the workflow of the payment may still send the receipt. Placeholders: id.
RECEIPT_TO_COME = """
    SELECT 1 FROM payment AS p JOIN task AS c ON c.id = p.task
        JOIN workflow_step AS s ON s.workflow = c.workflow AND s.contract = 'email.send_receipt'
        LEFT JOIN task AS t ON t.id = s.task
    WHERE p.id = {} AND (s.state = 'waiting' OR s.state = 'running' AND t.completed_at IS NULL)
"""

#: Finds payments without a final outcome that no task checks any more. A task that checks a payment
#: does so at least every 6 h, and each check is tried for half a day.
LEFT_OPEN = f"""
    SELECT id FROM payment
    WHERE status IN ('unknown', 'processing', 'requires_action') AND updated_at < now() - interval '12 h'
        AND (status <> 'unknown' OR key_used_at < now() - interval '{KEY_LIFE_H} h')
        AND created_at > now() - interval '15 days'
    ORDER BY created_at LIMIT 1000
"""
