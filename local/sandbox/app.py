"""The sandbox: one server that behaves as the outside services do, as far as our gateways go.

Every service has its folder in the path and its books, which `GET /sandbox/books` shows; `/sandbox/faults`
lets things go wrong.
"""

from typing import Any, Protocol

from litestar import Controller, Litestar, Router, delete, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import JSONBody
from litestar.types import ASGIApp

from local.sandbox.faults import Fault, Faults
from local.sandbox.push import Push
from local.sandbox.serpapi import SerpApi
from local.sandbox.stripe import Stripe
from local.sandbox.travclan import TravClan


class Service(Protocol):
    """One outside service; a fresh one for each app."""

    #: Its folder in the path.
    name: str

    def router(self) -> Router: ...
    def books(self) -> dict[str, Any]: ...


SERVICES: tuple[type[Service], ...] = (SerpApi, TravClan, Push, Stripe)


class Control(Controller):
    """For tests and for people who try things out."""

    path = "/sandbox"

    @get("/faults")
    async def list_faults(self, faults: NamedDependency[Faults]) -> dict[str, Any]:
        return {"armed": faults.armed, "happened": faults.happened}

    @post("/faults", status_code=201)
    async def arm(self, data: JSONBody[Fault], faults: NamedDependency[Faults]) -> None:
        faults.armed.append(data)

    @delete("/faults")
    async def clear(self, faults: NamedDependency[Faults]) -> None:
        faults.armed.clear()

    @get("/books")
    async def show_books(self, books: NamedDependency[dict[str, Any]]) -> dict[str, Any]:
        return books


def build() -> ASGIApp:
    """Fresh books, no faults."""
    faults = Faults()
    services = [service() for service in SERVICES]
    app = Litestar(
        [Control, *(service.router() for service in services)],
        dependencies={
            "faults": Provide(lambda: faults, sync_to_thread=False),
            "books": Provide(lambda: {s.name: s.books() for s in services}, sync_to_thread=False),
        },
        openapi_config=None,
        logging_config=None,
    )
    return faults.wrap(app)
