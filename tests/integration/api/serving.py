"""Other processes of the API over the same servers, with some settings changed."""

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
    """Returns what starts such a process."""

    @asynccontextmanager
    async def serve(**change: Any) -> AsyncIterator[Client]:
        async with AsyncTestClient(app.build(dataclasses.replace(settings, **change))) as client:
            yield client

    return serve
