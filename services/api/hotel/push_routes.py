"""The routes that register the signed-in user's browsers for push messages."""

from urllib.parse import urlsplit

from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from services.api.hotel.refusals import PushSwitchedOff, SubscriptionNotFound
from services.api.hotel.subscription_schemas import PushKey, Subscription, SubscriptionBody
from services.api.http.documentation import example
from services.api.http.errors import documented
from services.api.identity.rights import Reader
from shared.errors import FieldProblem, InvalidFields
from shared.hotel import inbox, web_push
from shared.hotel.settings import HotelSettings
from shared.ledger.database import Database
from shared.settings import Settings


@get("/push/key", summary="Public key with which browsers subscribe", responses=documented(401, 403, 409))
async def key(settings: NamedDependency[Settings]) -> PushKey:
    private = settings.of(HotelSettings).vapid_private_key
    if not private:
        raise PushSwitchedOff
    return PushKey(web_push.public_key(private))


#: Example of a push subscription as browsers send it. Its key is the generator point of the curve
#: P-256, so it is a valid public key.
_SUBSCRIPTION = {
    "endpoint": "https://push.example.com/send/1",
    "keys": {
        "p256dh": "BGsX0fLhLEJH-Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU",
        "auth": "AAECAwQFBgcICQoLDA0ODw",
    },
}


@post(
    "/push/subscriptions",
    summary="Subscribe a browser",
    operation_class=example(_SUBSCRIPTION),
    description="A request with a known endpoint replaces its keys.",
    status_code=201,
    responses=documented(400, 401, 403, 413),
)
async def subscribe(
    data: JSONBody[SubscriptionBody],
    reader: NamedDependency[Reader],
    settings: NamedDependency[Settings],
    database: NamedDependency[Database],
) -> Subscription:
    _check(data, settings.of(HotelSettings).push_sandbox_url)
    values = (data.endpoint, data.keys.p256dh, data.keys.auth)
    (row,) = await database.run(inbox.SUBSCRIBE, reader.id, *values)
    return Subscription(host=urlsplit(data.endpoint).hostname or "", **row)


@get("/push/subscriptions", summary="My subscribed browsers", responses=documented(401, 403))
async def list_subscriptions(
    reader: NamedDependency[Reader], database: NamedDependency[Database]
) -> list[Subscription]:
    rows = await database.run(inbox.LIST_SUBSCRIPTIONS, reader.id)
    return [Subscription(host=urlsplit(row.pop("endpoint")).hostname or "", **row) for row in rows]


@delete(
    "/push/subscriptions/{subscription_id:int}",
    summary="Unsubscribe a browser",
    responses=documented(400, 401, 403, 404),
)
async def unsubscribe(
    subscription_id: FromPath[int], reader: NamedDependency[Reader], database: NamedDependency[Database]
) -> None:
    possible = 0 < subscription_id < 2**63
    if not possible or not await database.run(inbox.UNSUBSCRIBE_OWN, subscription_id, reader.id):
        raise SubscriptionNotFound(subscription_id)


def _check(subscription: SubscriptionBody, sandbox_url: str) -> None:
    problems = []
    try:
        web_push.check_endpoint(subscription.endpoint, sandbox_url)
    except ValueError as error:
        problems.append(FieldProblem("endpoint", str(error).removeprefix("endpoint ")))
    try:
        web_push.check_keys(subscription.keys.p256dh, subscription.keys.auth)
    except ValueError as error:
        problems.append(FieldProblem("keys", str(error).removeprefix("keys ")))
    if problems:
        raise InvalidFields(problems)
