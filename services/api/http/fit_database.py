"""Refuses requests while this release cannot work with the database, and says why."""

from litestar.types import ASGIApp, Receive, Scope, Send

from services.api.http import health
from shared.ledger.schema_check import SchemaCheck


class FitDatabase:
    """Middleware around all routes except health checks and metrics."""

    def __init__(self, app: ASGIApp, schema: SchemaCheck) -> None:
        self._app, self._schema = app, schema

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises UnfitDatabase."""
        if self._schema.problem is not None and scope["path"] not in health.PATHS:
            raise self._schema.problem
        await self._app(scope, receive, send)
