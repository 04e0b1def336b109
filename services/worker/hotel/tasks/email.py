"""Bodies of the tasks that send mail to users with a confirmed address.

Mail about accounts is sent by the task in `account_mail`.
"""

from datetime import UTC, datetime

from services.worker.hotel import charging, mail
from services.worker.hotel.gateways.smtp import MailDeferred, MailMisconfigured, SmtpGateway
from services.worker.hotel.mail import PublicLinks
from services.worker.hotel.recipients import recipient
from services.worker.hotel.sending import send_once
from services.worker.registry import task
from shared.contracts.context import TaskContext
from shared.errors import PermanentError
from shared.hotel import billing, mailing
from shared.hotel.contracts.email import (
    SEND_PRICE_ALERT,
    SEND_RECEIPT,
    SEND_WELCOME,
    MailSent,
    PriceAlertSent,
    ReceiptSent,
    SendPriceAlert,
    SendReceipt,
    SendWelcome,
)

#: Number of bonus points of a new account, as stated in the welcome mail.
WELCOME_BONUS = 50


@task(SEND_WELCOME)
async def send_welcome(context: TaskContext, params: SendWelcome) -> MailSent:
    """Send the welcome mail to a new user."""
    user = await recipient(params.user_id)
    smtp = context.gateway(SmtpGateway)
    context.progress(30, message="Writing the mail")
    name = user.full_name or user.email
    message = mail.build(
        "welcome",
        {"user_name": name, "welcome_bonus": WELCOME_BONUS},
        task_id=context.id,
        sender=(smtp.sender_name, smtp.sender),
        to=(user.full_name or "", user.email),
        domain=smtp.domain,
    )
    refused = await send_once(context, user.email, user.id, "welcome", message)
    return MailSent(
        success=True,
        user_id=user.id,
        email=user.email,
        template="welcome",
        sent_at=datetime.now(UTC),
        message="Welcome mail sent",
        refused=refused,
    )


@task(SEND_PRICE_ALERT)
async def send_price_alert(context: TaskContext, params: SendPriceAlert) -> PriceAlertSent:
    """Send a user the alert that a watched price has fallen.

    Nothing is sent if the user has unsubscribed in the meantime.
    """
    user = await recipient(params.user_id)
    (preference,) = await context.database.run(mailing.PREFERENCE, user.id, mailing.PRICE_ALERTS)
    sent = PriceAlertSent(
        success=True,
        user_id=user.id,
        template="price_alert",
        alert_data=params.alert,
        message="Not sent: the user has unsubscribed from price alerts",
        email=None,
        sent_at=None,
    )
    if preference["opted_out"]:
        context.log.info(sent.message)
        return sent
    smtp, links = context.gateway(SmtpGateway), context.gateway(PublicLinks)
    context.progress(40, message="Writing the mail")
    unsubscribe_url = links.unsubscribe(preference["token"])
    message = mail.build(
        "price_alert",
        mail.price_alert_values(params.alert, user.full_name or user.email, unsubscribe_url),
        task_id=context.id,
        sender=(smtp.sender_name, smtp.sender),
        to=(user.full_name or "", user.email),
        domain=smtp.domain,
    )
    mail.let_unsubscribe(message, unsubscribe_url)
    await send_once(context, user.email, user.id, "price_alert", message)
    sent.email, sent.sent_at, sent.message = user.email, datetime.now(UTC), "Price alert sent"
    return sent


@task(SEND_RECEIPT)
async def send_receipt(context: TaskContext, params: SendReceipt) -> ReceiptSent:
    """Send the receipt of a payment, if one is due.

    Otherwise, the task still succeeds, because the payment is valid without a receipt.
    """
    receipt = ReceiptSent(
        success=True,
        user_id=params.user_id,
        payment_id=params.payment_id,
        template="receipt",
        message="",
        email=None,
        sent_at=None,
    )
    async with context.transaction() as transaction:
        # The row is locked until the end of this task is recorded. If a payment is paid later,
        # `payments.settle` submits a late receipt, but only if this task has already ended without
        # one. Without the lock, the payment could become paid after this check and before the end
        # of the task, and no receipt would be sent.
        payment = await charging.load_locked(context.database, params.payment_id)
        if payment is None or payment.status != "succeeded":
            receipt.message = f"Not sent: the payment is {payment.status if payment else 'gone'}"
            await context.complete_in(transaction, receipt)
            return receipt
    if await context.database.run(billing.BEING_REFUNDED, payment.id):
        receipt.message = "Not sent: the payment is being refunded"
        return receipt
    try:
        user = await recipient(params.user_id)
    except PermanentError as error:
        receipt.message = f"Not sent: {error}"
        return receipt
    smtp = context.gateway(SmtpGateway)
    values = mail.receipt_values(payment.amount_minor, payment.currency, payment.intent, payment.updated_at)
    message = mail.build(
        "receipt",
        {**values, "user_name": user.full_name or user.email},
        task_id=context.id,
        sender=(smtp.sender_name, smtp.sender),
        to=(user.full_name or "", user.email),
        domain=smtp.domain,
    )
    try:
        await send_once(context, user.email, user.id, "receipt", message)
    except MailMisconfigured as error:
        # A permanent error would make the workflow refund the payment at once. The payment is good
        # and so is the recipient, so this is treated like an outage of the mail server: the receipt
        # is retried for a day, which gives an operator time to correct the settings.
        raise MailDeferred(str(error)) from error
    receipt.email, receipt.sent_at, receipt.message = user.email, datetime.now(UTC), "Receipt sent"
    return receipt
