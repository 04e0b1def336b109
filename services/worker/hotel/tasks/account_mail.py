"""Body of the task that sends mail about accounts, such as the confirmation of an address.

The platform submits this task. It is the only mail that goes to addresses that are not confirmed
yet. Because anyone may register with another person's address, the text contains nothing that the
requester chose, not even a name.
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
    """Send one mail about an account. Only a mail of the kind `confirm` contains a link."""
    smtp, template = context.gateway(SmtpGateway), TEMPLATES[params.kind]
    message = mail.build(
        template,
        {"link": _link(context, params)},
        task_id=context.id,
        sender=(smtp.sender_name, smtp.sender),
        to=("", params.address),
        domain=smtp.domain,
    )
    await send_once(context, params.address, await _recipient(context, params), template, message)
    return AccountMailSent(
        success=True, user_id=params.user_id, kind=params.kind, sent_at=datetime.now(UTC), message="Mail sent"
    )


async def _recipient(context: TaskContext, params: SendAccountMail) -> int:
    """Return the account under which the mail is recorded.

    If a registration used an address that is already taken, it is the account that has the address.
    """
    if params.kind is not AccountMailKind.TAKEN:
        return params.user_id
    rows = await context.database.run("SELECT id FROM account WHERE email = {}", params.address)
    return rows[0]["id"] if rows else params.user_id


def _link(context: TaskContext, params: SendAccountMail) -> str | None:
    if params.kind is not AccountMailKind.CONFIRM:
        return None
    if params.token is None:
        raise PermanentError("token is missing: a mail of kind confirm has no link without it")
    return context.gateway(PublicLinks).verify(params.token)
