"""The route that shows what the caller may still submit."""

from datetime import datetime

from litestar import Router, get
from litestar.di import NamedDependency

from services.api.http.errors import documented
from services.api.http.schemas import Answer
from services.api.identity.rights import Reader
from services.api.quotas.quotas import Quotas, Used


class QuotaAnswer(Answer):
    #: Name of the quota: "tasks" (per minute), "waiting" (at the same time), or a daily quota; see
    #: GET /catalogue.
    quota: str
    amount: int
    taken: int
    left: int
    #: Time at which the count of the quota starts again; null for the quota of waiting tasks.
    resets_at: datetime | None


class QuotasAnswer(Answer):
    #: The highest priority that the caller may request for a task.
    highest_priority: int
    #: All quotas that limit the caller.
    quotas: list[QuotaAnswer]


@get(
    "/auth/me/quotas",
    summary="What I may still submit",
    description="Tasks that schedules or other tasks submit do not use quotas.",
    responses=documented(401, 403),
)
async def my_quotas(reader: NamedDependency[Reader], quotas: NamedDependency[Quotas]) -> QuotasAnswer:
    used = await quotas.used(reader)
    return QuotasAnswer(quotas.highest_priority(reader.role), [_answer(each) for each in used])


def _answer(used: Used) -> QuotaAnswer:
    left = max(0, used.amount - used.taken)
    return QuotaAnswer(used.quota, used.amount, used.taken, left, used.resets_at)


ROUTER = Router("", route_handlers=[my_quotas], tags=["accounts"])
