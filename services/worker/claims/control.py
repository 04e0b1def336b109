"""Follows what operators decide: at once by a message, and for certain by each heartbeat."""

import logging
from collections.abc import Callable, Collection

import msgspec

from services.worker.claims.claims import Claims
from services.worker.claims.fetcher import Fetcher
from services.worker.claims.heartbeat import Heartbeat
from services.worker.claims.subscription import Subscription
from services.worker.running import stacks
from shared.transport import control
from shared.transport.control import LookUp, ShowStack
from shared.transport.queues import Queues

log = logging.getLogger(__name__)


class Decisions:
    """Passes on what the ledger says: pauses to the fetcher, the end of the worker to its process."""

    def __init__(self, fetcher: Fetcher, *, drain: Callable[[], None], recycle: Callable[[], None]) -> None:
        self._fetcher = fetcher
        self._ends = {"drain": drain, "recycle": recycle}

    def follow(self, paused: Collection[str], asked: str | None) -> None:
        """`paused` are the paused queues; `asked` is the column of this worker's row."""
        self._fetcher.follow(paused, quiet=asked == "quiet")
        if asked in self._ends:
            self._ends[asked]()


class Control:
    """Listens to the messages for all workers. Runs on the ledger loop."""

    def __init__(self, heartbeat: Heartbeat, claims: Claims, queues: Queues) -> None:
        self._heartbeat = heartbeat
        self._claims = claims
        self._queues = queues
        self._channel = Subscription(queues)

    async def listen(self) -> None:
        """Wait a second for a message, and follow it."""
        data = await self._channel.next(self._queues.control_channel)
        if data is None:
            return
        try:
            message = control.decode(data)
        except msgspec.MsgspecError:
            log.warning("ignored a message on %s: %.100r", self._queues.control_channel, data[:100])
            return
        match message:
            case LookUp():
                await self._heartbeat.beat()
            case ShowStack():
                await self._show(message)

    async def _show(self, asked: ShowStack) -> None:
        """Nothing is shown of a task that is claimed here and has not begun."""
        if asked.task not in self._claims:
            return
        running = [attempt for attempt in self._claims.running() if attempt.id == asked.task]
        shown = [stack for attempt in running for stack in stacks.of_body(attempt)]
        await control.answer_stacks(self._queues, asked.question, shown)
