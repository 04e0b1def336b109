"""The web page that the link in a confirmation mail opens.

Opening it changes nothing, because mail scanners open every link.
"""

from litestar import MediaType, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from services.api.audit.actor import Actor
from services.api.http import page
from services.api.http.errors import documented
from services.api.identity.confirmations import Confirmations

TITLE = "Confirm your address"
_ASK = """<p>Is this address yours, and did you give it to us?</p>
<form method="post"><button>Confirm</button></form>"""
_DONE = "<p>Your address is confirmed. You can close this page.</p>"


@get(
    "/verify/{token:str}",
    summary="Page that asks whether to confirm an address",
    tags=["accounts"],
    media_type=MediaType.HTML,
    responses=documented(404),
)
async def ask(token: FromPath[str]) -> Response[str]:
    return page.answer(TITLE, _ASK)


@post(
    "/verify/{token:str}",
    summary="Confirm an address",
    tags=["accounts"],
    status_code=200,
    media_type=MediaType.HTML,
    responses=documented(404, 409),
)
async def confirm(
    token: FromPath[str], confirmations: NamedDependency[Confirmations], actor: NamedDependency[Actor]
) -> Response[str]:
    await confirmations.confirm(token, actor)
    return page.answer(TITLE, _DONE)
