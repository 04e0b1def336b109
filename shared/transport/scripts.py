"""The Lua scripts of the queues, and what runs them. Redis runs each script atomically."""

import hashlib
import logging
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, cast
from uuid import UUID

import redis.asyncio as redis
from redis.exceptions import NoScriptError

from shared.errors import ServerRefuses, Stranger
from shared.transport.answers import answer_of, is_wrong_type
from shared.transport.keys import SYSTEM_KEY

log = logging.getLogger(__name__)

SCRIPTS_LOST = (
    "it lost its Lua scripts immediately after they were loaded; check whether another program runs SCRIPT "
    "FLUSH, or whether a proxy distributes commands over several servers"
)


class Script:
    """A Lua script: the text of `preamble.lua`, followed by one file."""

    def __init__(self, file: str) -> None:
        folder = files(__package__)
        self.text = folder.joinpath("preamble.lua").read_text() + folder.joinpath(file).read_text()
        self._sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def call(self, system: str, keys: Sequence[str], *arguments: Any) -> tuple[Any, ...]:
        """Build the Redis command that runs the script."""
        return ("EVALSHA", self._sha, len(keys) + 1, *keys, SYSTEM_KEY, *arguments, system)


class Scripts:
    """The scripts of the queues, for one Redis database.

    Scripts that Redis has lost are loaded again. What other programs have written to the keys of
    the platform is logged.
    """

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client
        self.push, self.fetch = Script("push.lua"), Script("fetch.lua")
        self.head, self.unacked = Script("head.lua"), Script("unacked.lua")
        self.past = Script("past.lua")

    async def carry_out(self, calls: Sequence[tuple[Any, ...]], system: str) -> tuple[Any, ...]:
        """Send commands in one round trip. Returns the ids that the last script found, followed by
        the rest of that script's result. `system` is the one with which the calls were built.

        Raises Stranger if the Redis database belongs to another system, or ServerUnavailable.
        """
        try:
            answers = await answer_of(self._send(calls))
        except NoScriptError:
            # Redis does not know the scripts, so it has restarted or another server has taken over.
            # Send the scripts again, but not BLPOP, whose wait is over. An id that is pushed twice
            # can be claimed only once.
            answers = await self._load_and_send([call for call in calls if call[0] == "EVALSHA"])
        for answer in answers:
            if isinstance(answer[0], bytes):
                raise Stranger(answer[0].decode(), system)
            _report(dropped=answer[1], moved=answer[2])
        ids, _, _, *more = answers[-1]
        return [UUID(bytes=i) for i in ids], *more

    async def _load_and_send(self, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Load all scripts, then send these commands once. Raises ServerRefuses if Redis has lost
        the scripts again.
        """
        for script in (self.push, self.fetch, self.head, self.unacked, self.past):
            await answer_of(self._client.script_load(script.text))
        try:
            return cast("list[Any]", await answer_of(self._send(calls)))
        except NoScriptError as error:
            raise ServerRefuses("Redis", SCRIPTS_LOST) from error

    async def _send(self, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send commands and return the answers of the scripts among them. Raises the first
        error.
        """
        client: Any = self._client
        if len(calls) == 1:
            return [await client.execute_command(*calls[0])]
        pipe = client.pipeline(transaction=False)
        for call in calls:
            pipe.execute_command(*call)
        answers = await pipe.execute(raise_on_error=False)
        for call, answer in zip(calls, answers, strict=True):
            # BLPOP fails if the list of wake tokens has the wrong type. That error is ignored,
            # because the script that follows removes such a value.
            if isinstance(answer, Exception) and not (call[0] == "BLPOP" and is_wrong_type(answer)):
                raise answer
        return [answer for call, answer in zip(calls, answers, strict=True) if call[0] == "EVALSHA"]


def _report(*, dropped: int, moved: Sequence[bytes]) -> None:
    """Log that another program has written unusable values to keys of the platform."""
    if dropped:
        text = (
            "dropped %d entries that are no task ids; check whether another program writes to this Redis "
            "database"
        )
        log.warning(text, dropped)
    for key in moved:
        text = (
            "a Redis key held a value of the wrong type, which was moved to %s:misplaced; inspect it, then "
            "DEL it"
        )
        name = key.decode(errors="replace")
        log.warning(text, name, extra={"key": name})
