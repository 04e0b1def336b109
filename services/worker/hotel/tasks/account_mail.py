"""Mail about accounts, which the platform asks for. No other mail goes to addresses that are not confirmed.

Its text holds nothing that a caller chose, not even a name: a stranger may register with any address.
"""

from datetime import UTC, datetime

from services.worker.hotel import mail
from services.worker.hotel.gateways.smtp import SmtpGateway
from services.worker.hotel.mail import PublicLinks
from services.worker.hotel.sending import send_once
from services.worker.registry import task
from shared.contracts.account_mail import AccountMailKind, SendAccountMail
from shared.contracts.context import TaskContext
from shared.errors import PermanentError
from shared.hotel.contracts.email import SEND_ACCOUNT_MAIL, AccountMailSent

TEMPLATES = {
    AccountMailKind.CONFIRM: "address_confirm",
    AccountMailKind.TAKEN: "address_taken",
    AccountMailKind.CHANGE: "address_change",
}


@task(SEND_ACCOUNT_MAIL)
async def send_account_mail(context: TaskContext, params: SendAccountMail) -> AccountMailSent:
    """Send one mail; only the kind `confirm` has a link."""
    smtp, template = context.gateway(SmtpGateway), TEMPLATES[params.kind]
    message = mail.build(
        template,
        {"link": _link(context, params)},
        task_id=context.id,
        sender=(smtp.sender_name, smtp.sender),
        to=("", params.address),
        domain=smtp.domain,
    )
    await send_once(context, params.address, params.user_id, template, message)
    return AccountMailSent(
        success=True, user_id=params.user_id, kind=params.kind, sent_at=datetime.now(UTC), message="Mail sent"
    )


def _link(context: TaskContext, params: SendAccountMail) -> str | None:
    if params.kind is not AccountMailKind.CONFIRM:
        return None
    if params.token is None:
        raise PermanentError("token is missing: a mail of kind confirm has no link without it")
    return context.gateway(PublicLinks).verify(params.token)
