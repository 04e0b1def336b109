"""Routes with which people choose which mails they get, either signed in or by the link in a mail.

The link opens a page with one button and needs no sign-in. Mail programs use it for one-click
unsubscribing (RFC 8058). Opening the page changes nothing, because mail scanners open every link.
"""

from uuid import UUID

from litestar import MediaType, Response, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from services.api.hotel.refusals import UnknownLink
from services.api.http import page
from services.api.http.documentation import example
from services.api.http.errors import documented
from services.api.identity.account_schemas import MailChoice
from services.api.identity.rights import Reader
from shared.hotel import mailing
from shared.ledger.database import Database

_TITLE = "Often Hotels"
_ASK = """<p>No more price alerts?</p>
<form method="post"><button name="List-Unsubscribe" value="One-Click">Unsubscribe</button></form>"""
_DONE = "<p>You are unsubscribed and get no more price alerts.</p>"


@get(
    "/unsubscribe/{token:uuid}",
    summary="Page that asks whether to unsubscribe",
    tags=["mail"],
    media_type=MediaType.HTML,
    responses=documented(404),
)
async def ask(token: FromPath[UUID]) -> Response[str]:
    return page.answer(_TITLE, _ASK)


@post(
    "/unsubscribe/{token:uuid}",
    summary="Unsubscribe",
    tags=["mail"],
    status_code=200,
    media_type=MediaType.HTML,
    responses=documented(404),
)
async def unsubscribe(token: FromPath[UUID], database: NamedDependency[Database]) -> Response[str]:
    if not await database.run(mailing.UNSUBSCRIBE, token):
        raise UnknownLink
    return page.answer(_TITLE, _DONE)


@get("/auth/me/mail", summary="Which mails I get", responses=documented(401, 403))
async def my_mail(reader: NamedDependency[Reader], database: NamedDependency[Database]) -> MailChoice:
    (preference,) = await database.run(mailing.PREFERENCE, reader.id, mailing.PRICE_ALERTS)
    return MailChoice(price_alerts=not preference["opted_out"])


@put(
    "/auth/me/mail",
    summary="Choose which mails I get",
    operation_class=example({"price_alerts": False}),
    responses=documented(400, 401, 403, 413),
)
async def choose_mail(
    data: JSONBody[MailChoice], reader: NamedDependency[Reader], database: NamedDependency[Database]
) -> MailChoice:
    await database.run(mailing.CHOOSE, reader.id, mailing.PRICE_ALERTS, data.price_alerts)
    return data
