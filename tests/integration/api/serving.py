"""Starts further APIs that use the same Postgres and Redis, with some settings changed."""

import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from litestar.testing import AsyncTestClient

from services.api import app
from shared.settings import Settings
from tests.integration.api.conftest import Client

Serve = Callable[..., AbstractAsyncContextManager[Client]]


def serving(settings: Settings) -> Serve:
    """Returns a function that starts an API with these settings, some of them changed."""

    @asynccontextmanager
    async def serve(**change: Any) -> AsyncIterator[Client]:
        async with AsyncTestClient(app.build(dataclasses.replace(settings, **change))) as client:
            yield client

    return serve
