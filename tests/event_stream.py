"""A test client that reads event streams (server-sent events) as a browser does."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx

from tests.eventually import eventually


class Event(NamedTuple):
    event: str
    data: Any


class Followed:
    """The events that an event stream has sent so far. The stream is read in the background."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.last_id: str | None = None
        #: Everything that was received from the stream, as text.
        self.text = ""
        self.has_ended = False

    @property
    def names(self) -> list[str]:
        return [event.event for event in self.events]

    def of(self, *names: str) -> list[Any]:
        """The data of all received events with one of these names."""
        return [event.data for event in self.events if event.event in names]

    async def until(self, check: Callable[["Followed"], Any], timeout_s: float = 30) -> Any:
        return await eventually(lambda: check(self), timeout_s)

    async def until_event(self, name: str, timeout_s: float = 30) -> Any:
        """Wait until an event with this name was received. Returns the data of the first one."""
        (first, *_) = await self.until(lambda followed: followed.of(name), timeout_s)
        return first

    async def until_end(self, timeout_s: float = 30) -> None:
        await self.until(lambda followed: followed.has_ended, timeout_s)

    async def read(self, lines: AsyncIterator[str]) -> None:
        fields: dict[str, str] = {}
        async for line in lines:
            self.text += f"{line}\n"
            name, _, value = line.partition(":")
            if line and name:
                fields[name] = value.removeprefix(" ")
            elif not line:
                self.last_id = fields.get("id", self.last_id)
                if "data" in fields:
                    self.events.append(Event(fields["event"], json.loads(fields["data"])))
                fields = {}
        self.has_ended = True


@asynccontextmanager
async def following(
    http: httpx.AsyncClient, path: str, headers: dict[str, str], *, after: str | None = None
) -> AsyncIterator[Followed]:
    """Open an event stream inside this context. `after` is the id of the last event that the client
    knows, if any.
    """
    sent = headers if after is None else {**headers, "Last-Event-ID": after}
    followed = Followed()
    async with http.stream("GET", path, headers=sent) as answer:
        assert answer.status_code == 200, (answer.status_code, await answer.aread())
        assert answer.headers["content-type"].startswith("text/event-stream")
        reading = asyncio.create_task(followed.read(answer.aiter_lines()))
        try:
            yield followed
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
