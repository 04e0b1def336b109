"""The route that lists the catalogue: the kinds of tasks that clients may submit, and their
parameters.
"""

from litestar import get
from litestar.di import NamedDependency

from services.api.http.errors import documented
from services.api.identity.rights import Reader
from services.api.tasks.contract_view import ContractView
from services.api.tasks.schemas import CatalogueAnswer


@get(
    "/catalogue",
    summary="List the kinds of tasks",
    description="Each kind has the JSON Schemas of its parameters and of its result. Tasks that "
    "only staff may submit are listed for staff only.",
    responses=documented(401, 403),
)
async def catalogue(
    reader: NamedDependency[Reader], contracts: NamedDependency[ContractView]
) -> CatalogueAnswer:
    return CatalogueAnswer(contracts.visible_to(reader))
