"""Lets a worker follow the decisions of operators, such as pausing a queue.

A Redis message announces a decision immediately. Messages may be lost, so each heartbeat reads the
decisions from Postgres as well.
"""

import logging
from collections.abc import Callable, Collection

import msgspec

from services.worker.claims.claims import Claims
from services.worker.claims.fetcher import Fetcher
from services.worker.claims.heartbeat import Heartbeat
from services.worker.running import stacks
from shared.transport import control
from shared.transport.control import LookUp, ShowStack
from shared.transport.queues import Queues
from shared.transport.subscription import Subscription

log = logging.getLogger(__name__)


class Decisions:
    """Passes on operators' decisions to the parts of the worker that carry them out.

    The fetcher gets pauses and requests to be quiet; the worker process gets requests to stop or
    restart.
    """

    def __init__(self, fetcher: Fetcher, *, drain: Callable[[], None], recycle: Callable[[], None]) -> None:
        self._fetcher = fetcher
        self._ends = {"drain": drain, "recycle": recycle}

    def follow(self, paused: Collection[str], asked: str | None) -> None:
        """Apply the decisions that are stored in Postgres.

        `paused` are the paused queues. `asked` is what operators requested of this worker, for
        example "drain"; None if nothing.
        """
        self._fetcher.follow(paused, quiet=asked == "quiet")
        if asked in self._ends:
            self._ends[asked]()


class Control:
    """Listens to the control messages that are sent to all workers.

    Use it only on the ledger event loop.
    """

    def __init__(self, heartbeat: Heartbeat, claims: Claims, queues: Queues) -> None:
        self._heartbeat = heartbeat
        self._claims = claims
        self._queues = queues
        self._subscription = Subscription(queues, lambda: queues.control_channel)

    async def listen(self) -> None:
        """Wait up to a second for a control message and do what it asks. Raises
        ServerUnavailable.
        """
        data = await self._subscription.next()
        if data is None:
            return
        try:
            message = control.decode(data)
        except msgspec.DecodeError as error:
            text = "ignored a control message that cannot be read: %s: %.100r"
            log.warning(text, error, data[:100], extra={"channel": self._queues.control_channel})
            return
        match message:
            case LookUp():
                await self._heartbeat.beat()
            case ShowStack():
                await self._show(message)

    async def _show(self, asked: ShowStack) -> None:
        """Answer with the call stacks of a task if this worker holds it.

        If the task is claimed but has not begun, the list of stacks is empty.
        """
        if asked.task not in self._claims:
            return
        running = [attempt for attempt in self._claims.running() if attempt.id == asked.task]
        shown = [stack for attempt in running for stack in stacks.of_body(attempt)]
        await control.answer_stacks(self._queues, asked.question, shown)
