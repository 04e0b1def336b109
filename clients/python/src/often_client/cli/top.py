"""The command `often top`: a live view of queues, workers and running tasks.

The event stream reports changes of tasks, and counts are read again when tasks have changed. While
the API refuses the stream, everything is read at an interval.
"""

import asyncio
import contextlib
import copy
import signal
import sys
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import rich_click as click

from often_client.answers import Worker
from often_client.cli.access import Access
from often_client.cli.board import Board, Facts, Failed, Running
from often_client.cli.exit_codes import TERMINATED
from often_client.cli.keyboard import keys
from often_client.cli.options import MAX_PAGE_SIZE, end, pass_access
from often_client.cli.output import console
from often_client.cli.top_page import page
from often_client.cli.view import Act, Quit, View
from often_client.errors import ApiAway, OftenError, ServerError

if TYPE_CHECKING:
    from rich.live import Live

    from often_client.async_client import AsyncClient

#: Interval in seconds at which counts are read while the event stream is connected and no task
#: changes.
QUIET_S = 15.0
#: Seconds to wait before opening the event stream again after the API refused it.
REFUSED_S = 60.0
#: Minimum and maximum interval in seconds at which the live view is drawn.
MIN_DRAW_S, MAX_DRAW_S = 0.2, 1.0


@click.command()
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(0.5),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Minimum interval at which counts are read.",
)
@pass_access
def top(access: Access, every_s: float) -> None:
    """Watch queues, workers and running tasks live.

    Running tasks are shown as soon as they change. Keys: `q` quits, `p` freezes the view, `/` shows only
    tasks and queues with a text in their names, `j` and `k` select a task, `c` cancels a running task, and
    `r` retries a failed one. The command needs a terminal; `often status` prints the same facts once.
    """
    if not sys.stdout.isatty():
        raise click.UsageError("`often top` needs a terminal. `often status` prints the same facts once.")
    try:
        asyncio.run(_watch(access, every_s))
    except asyncio.CancelledError:
        end(TERMINATED)


async def _watch(access: Access, every_s: float) -> None:
    """Show the live view until the user quits. The terminal is restored however it ends.

    Raises CancelledError when SIGTERM arrives, and OftenError if the API cannot be read.
    """
    from rich.live import Live  # noqa: PLC0415 - see `output.console`

    _cancel_on_sigterm()
    async with access.open_async(retries=0) as client:
        asked_at = time.monotonic()
        watch = Watch(client, Board.begin(await read_facts(client), asked_at), every_s)
        with keys() as pressed, Live(console=console(), screen=True, auto_refresh=False) as live:
            await watch.run(live, pressed)


def _cancel_on_sigterm() -> None:
    task = asyncio.current_task()
    assert task is not None
    with contextlib.suppress(NotImplementedError):  # event loops on Windows do not support signal handlers
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


async def read_facts(client: "AsyncClient") -> Facts:
    """Read everything that the live view shows from the API. Raises OftenError."""

    async def workers() -> list[Worker]:
        return [each async for each in client.workers(page_size=MAX_PAGE_SIZE)]

    readings = (client.health(), client.queues(), workers(), client.series(hours=1), client.waits())
    return Facts(*await asyncio.gather(*readings))


class Watch:
    """The concurrent loops of the live view: reading, events, drawing and keys."""

    def __init__(self, client: "AsyncClient", board: Board, every_s: float) -> None:
        self.board = board
        self.view = View()
        self._client = client
        self._every_s = every_s
        self._frozen: tuple[Board, float] | None = None
        #: Set when the live view has something new to draw.
        self._is_new = asyncio.Event()
        #: Set when tasks have changed since the counts were last read.
        self._is_stale = asyncio.Event()

    async def run(self, live: "Live", pressed: "asyncio.Queue[str]") -> None:
        """Run the live view until the user quits. Raises OftenError if the API refuses
        to be read.
        """
        await _first_of(self._read(), self._follow(), self._draw(live), self._obey(pressed))

    async def _read(self) -> None:
        """Read the counts from the API repeatedly."""
        while True:
            await asyncio.sleep(self._every_s)
            if self.board.is_live:
                await _happens_within(QUIET_S - self._every_s, self._is_stale)
            self._is_stale.clear()
            asked_at = time.monotonic()
            try:
                self.board.read(await read_facts(self._client), asked_at)
                self.board.reading_trouble = ""
            except (ApiAway, ServerError) as error:
                self.board.reading_trouble = f"These facts are old. {error}"
            self._is_new.set()

    async def _follow(self) -> None:
        """Apply changes from the event stream. If the API refuses the stream, try again after a
        pause.
        """
        while True:
            try:
                await self._take_events()
            except OftenError as error:
                self.board.stream_trouble = f"Not live: read every {self._every_s:g} s. {error}"
            self.board.is_live = False
            self._is_new.set()
            await asyncio.sleep(REFUSED_S)

    async def _take_events(self) -> None:
        """Open the event stream and apply its changes until it ends. Raises OftenError."""
        async with contextlib.aclosing(self._client.events()) as events:
            async for event in events:
                if event.event in ("state", "resync"):
                    self.board.is_live, self.board.stream_trouble = True, ""
                elif event.event in ("degraded", "expired", "bye"):
                    self.board.is_live = False
                for change in event.tasks:
                    self.board.change(change, time.monotonic())
                self._is_stale.set()
                self._is_new.set()

    async def _draw(self, live: "Live") -> None:
        while True:
            board, now = self._picture()
            live.update(page(board, self.view, self._rows(), now), refresh=True)
            await _happens_within(MAX_DRAW_S, self._is_new)
            self._is_new.clear()
            await asyncio.sleep(MIN_DRAW_S)

    async def _obey(self, pressed: "asyncio.Queue[str]") -> None:
        """React to pressed keys until the user quits."""
        while True:
            wish = self.view.press(await pressed.get(), self._rows())
            if isinstance(wish, Quit):
                return
            if wish is not None:
                self.view.message = await self._carry_out(wish)
            self._is_new.set()

    async def _carry_out(self, act: Act) -> str:
        """Send the confirmed act to the API. Returns the API's message, or why it was refused."""
        carry_out = self._client.cancel if act.verb == "cancel" else self._client.retry
        try:
            return (await carry_out(act.task_id)).message
        except OftenError as error:
            return str(error)

    def _picture(self) -> tuple[Board, float]:
        """The content and the time to show. While the user has frozen the view, both stay the
        same.
        """
        if not self.view.is_frozen:
            self._frozen = None
            return self.board, time.monotonic()
        if self._frozen is None:
            self._frozen = copy.deepcopy(self.board), time.monotonic()
        return self._frozen

    def _rows(self) -> list[Running | Failed]:
        """The tasks that are shown, from top to bottom."""
        board, _ = self._picture()
        rows: list[Running | Failed] = [*board.running(), *board.failed]
        return [row for row in rows if self.view.shows(row.task_name, row.queue)]


async def _first_of(*loops: Coroutine[Any, Any, None]) -> None:
    """Run all coroutines until the first one ends, then cancel the others. Raises what the first
    one raises.
    """
    tasks = [asyncio.create_task(each) for each in loops]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def _happens_within(seconds: float, event: asyncio.Event) -> None:
    """Wait for an event, but at most this many seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
