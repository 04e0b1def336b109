"""The routes that confirm a mail address, send the confirmation mail again, and change the address."""

from litestar import post, put
from litestar.di import NamedDependency
from litestar.params import JSONBody

from services.api.audit.actor import Actor
from services.api.http.documentation import example
from services.api.http.errors import documented
from services.api.identity import accounts
from services.api.identity.account_schemas import (
    Account,
    AddressAnswer,
    AddressChange,
    AddressConfirmed,
    ConfirmationToken,
)
from services.api.identity.confirmations import Confirmations
from services.api.identity.logins import Logins
from services.api.identity.passwords import Passwords
from shared.errors import FieldProblem, InvalidFields

ASKED = "Open the link in the mail within 24 hours."
NOT_ASKED = "Nothing has to be confirmed: no application here sends mail."


@post(
    "/auth/verify",
    summary="Confirm an address",
    operation_class=example({"token": "the end of the link in the mail"}),
    description="The link in the mail opens a page that sends this request. Each link works once, for 24 "
    "hours.",
    status_code=200,
    responses=documented(400, 404, 409, 413),
)
async def verify(
    data: JSONBody[ConfirmationToken],
    confirmations: NamedDependency[Confirmations],
    actor: NamedDependency[Actor],
) -> AddressConfirmed:
    return AddressConfirmed(await confirmations.confirm(data.token, actor))


@post(
    "/auth/me/verification",
    summary="Get another mail to confirm your address",
    description="At most three mails an hour are sent, the first one included.",
    status_code=202,
    responses=documented(401, 403, 409),
)
async def ask_again(
    user: NamedDependency[Account],
    confirmations: NamedDependency[Confirmations],
    actor: NamedDependency[Actor],
) -> AddressAnswer:
    return _answer(await confirmations.ask_again(user.id, actor))


@put(
    "/auth/me/email",
    summary="Change your address",
    operation_class=example({"email": "ann.lee@often.example", "password": "correct horse"}),
    description="The new address gets a mail and becomes yours once its link is used. The present one is "
    "told. The answer is the same for an address that another account has.",
    status_code=202,
    responses=documented(400, 401, 403, 409, 413),
)
async def change_address(
    data: JSONBody[AddressChange],
    user: NamedDependency[Account],
    passwords: NamedDependency[Passwords],
    logins: NamedDependency[Logins],
    confirmations: NamedDependency[Confirmations],
    actor: NamedDependency[Actor],
) -> AddressAnswer:
    address = accounts.normalised(data.email)
    with passwords.place(actor.network):
        if await logins.authenticate(user.email, data.password, actor) is None:
            raise InvalidFields([FieldProblem("password", "is wrong: enter the password of your account")])
    return _answer(await confirmations.change(user.id, address, actor))


def _answer(is_asked: bool) -> AddressAnswer:
    return AddressAnswer(is_asked, ASKED if is_asked else NOT_ASKED)
