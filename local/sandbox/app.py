"""The sandbox: one server that simulates the outside services, as far as the gateways use them.

Each service has its own first path segment. `GET /sandbox/books` shows what each of them has
recorded, and `/sandbox/faults` causes failures.
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
    """A simulated outside service. Each sandbox app creates its own instance."""

    #: First path segment of the simulated service's URLs.
    name: str

    def router(self) -> Router: ...
    def books(self) -> dict[str, Any]: ...


SERVICES: tuple[type[Service], ...] = (SerpApi, TravClan, Push, Stripe)


class Control(Controller):
    """The routes that control the sandbox itself, for tests and for manual experiments."""

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
    """Build the sandbox app, with empty records and no faults."""
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
