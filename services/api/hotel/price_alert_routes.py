"""The routes of the signed-in user's price alerts."""

from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from services.api.hotel.refusals import AlertNotFound, HotelNotFound
from services.api.hotel.subscription_schemas import PriceAlertAnswer, PriceAlertBody
from services.api.http.documentation import example
from services.api.http.errors import documented
from services.api.identity.rights import Reader
from shared.errors import FieldProblem, InvalidFields
from shared.hotel import pricing
from shared.hotel.contracts.hotels import check_stay
from shared.ledger.database import Database


@post(
    "/price-alerts",
    summary="Ask for a mail when a hotel becomes cheaper",
    operation_class=example({"hotel_id": 1, "drop_percent": 10}),
    description="There is one alert per hotel and stay. A second request changes its threshold and "
    "frequency.",
    status_code=201,
    responses=documented(400, 401, 403, 413, 422),
)
async def make(
    data: JSONBody[PriceAlertBody], reader: NamedDependency[Reader], database: NamedDependency[Database]
) -> PriceAlertAnswer:
    _check(data)
    rows = await database.run(
        pricing.WATCH,
        *(reader.id, data.check_in, data.check_out, data.drop_percent, data.every_hours, data.hotel_id),
    )
    if not rows:
        raise HotelNotFound(data.hotel_id)
    return _answer(rows[0])


@get("/price-alerts", summary="My price alerts", responses=documented(401, 403))
async def list_alerts(
    reader: NamedDependency[Reader], database: NamedDependency[Database]
) -> list[PriceAlertAnswer]:
    return [_answer(row) for row in await database.run(pricing.WATCHED, reader.id)]


@delete("/price-alerts/{alert_id:int}", summary="End a price alert", responses=documented(400, 401, 403, 404))
async def remove(
    alert_id: FromPath[int], reader: NamedDependency[Reader], database: NamedDependency[Database]
) -> None:
    possible = 0 < alert_id < 2**63
    if not possible or not await database.run(pricing.UNWATCH, alert_id, reader.id):
        raise AlertNotFound(alert_id)


def _check(wanted: PriceAlertBody) -> None:
    if (wanted.check_in is None) != (wanted.check_out is None):
        missing = "check_in" if wanted.check_in is None else "check_out"
        raise InvalidFields([FieldProblem(missing, "must be given together with the other day of the stay")])
    if wanted.check_in is not None and wanted.check_out is not None:
        try:
            check_stay(wanted.check_in, wanted.check_out)
        except ValueError as error:
            raise InvalidFields([FieldProblem("check_out", str(error).removeprefix("check_out "))]) from None


def _answer(row: dict[str, object]) -> PriceAlertAnswer:
    return PriceAlertAnswer(**{**row, "drop_percent": float(str(row["drop_percent"]))})  # type: ignore[arg-type]
