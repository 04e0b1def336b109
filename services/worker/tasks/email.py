"""Mail to users."""

from datetime import UTC, datetime

from services.worker import mail
from services.worker.gateways.smtp import SmtpGateway
from services.worker.registry import task
from shared.contracts.context import TaskContext
from shared.contracts.email import SEND_WELCOME, MailSent, SendWelcome
from shared.domain.accounts import User
from shared.errors import PermanentError

#: Points that a new account starts with.
WELCOME_BONUS = 50


@task(SEND_WELCOME)
async def send_welcome(context: TaskContext, params: SendWelcome) -> MailSent:
    """Welcome a new user."""
    user = await User.objects().get(User.id == params.user_id)
    if user is None:
        raise PermanentError(f"user {params.user_id} does not exist")
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
    delivery = await smtp.send(message, [user.email])
    context.log.info("mail server took the welcome mail for %d of 1 recipients", len(delivery.accepted))
    return MailSent(
        success=True,
        user_id=user.id,
        email=user.email,
        template="welcome",
        sent_at=datetime.now(UTC),
        message="Welcome mail sent",
        refused=delivery.refused,
    )
