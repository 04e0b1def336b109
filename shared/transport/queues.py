"""Ids on their way through Redis: push into lanes, wake, fetch, acknowledge.

A queue is eleven lists of 16-byte task ids: one per priority and one for rescued ids. Redis may be wiped at
any moment; the ledger knows what was here.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import redis.asyncio as redis
from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError

from shared.errors import ServerUnavailable, Stranger
from shared.transport.answers import answer_of
from shared.transport.connection import connect as connect
from shared.transport.keys import (
    CHECKED_KEY,
    GENERATION_KEY,
    PRIORITIES,
    SYSTEM_KEY,
    fetch_keys,
    lane_key,
    past_key,
    rescue_key,
    turn_key,
    unacked_key,
    wake_key,
)
from shared.transport.script import Script

log = logging.getLogger(__name__)

#: Wake tokens kept per queue; more idle workers than this find out a moment later.
MAX_WAKE_TOKENS = 32
#: How long a worker has its turn unless it renews it: longer than a claim takes.
TURN_MS = 5_000
#: How long an id that may run past a pause waits for a worker; then its task waits for the end of the pause.
PAST_LIFE_S = 3_600
#: Ids per RPUSH; keeps one command short for the other clients of Redis.
PUSH_CHUNK = 5_000


class Address(msgspec.Struct, frozen=True, gc=False):
    """Where an id goes."""

    id: UUID
    queue: str
    priority: int
    rescued: bool = False

    @property
    def lane(self) -> str:
        return rescue_key(self.queue) if self.rescued else lane_key(self.queue, self.priority)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What one fetch brought."""

    ids: list[UUID]
    #: Suspects wait for a worker that holds nothing, or did until this fetch.
    suspects: bool
    #: This worker has the turn of a queue: it fetches nothing until it is idle and has run a suspect.
    turn: bool
    #: The one id is a suspect and begins alone.
    alone: bool
    #: Ordinary ids in the lanes before this fetch.
    waiting: int


class Queues:
    """The lanes in one Redis. Every method raises ServerUnavailable when Redis does not serve it.

    That includes a Redis that belongs to another system: see `shared.system`.
    """

    def __init__(self, client: "redis.Redis") -> None:
        self.client = client
        #: The system to which this process belongs; None until the ledger has said so.
        self.system: UUID | None = None
        self._push, self._fetch = Script("push.lua"), Script("fetch.lua")
        self._head, self._unacked = Script("head.lua"), Script("unacked.lua")
        self._past = Script("past.lua")

    @property
    def cancel_channel(self) -> str:
        """Names the system, because all databases of a Redis share their channels."""
        return f"often:cancel:{self._system}"

    @property
    def control_channel(self) -> str:
        """Carries the messages of `shared.transport.control`."""
        return f"often:control:{self._system}"

    @property
    def _system(self) -> str:
        return self.system.hex if self.system else ""

    async def push(self, addresses: Iterable[Address]) -> None:
        """Append ids to their lanes in order and wake one idle worker for each, up to a bound."""
        lanes: dict[tuple[str, str], list[bytes]] = defaultdict(list)
        for address in addresses:
            lanes[address.lane, wake_key(address.queue)].append(address.id.bytes)
        calls = [
            self._push.call(self._system, keys, MAX_WAKE_TOKENS, *ids[start : start + PUSH_CHUNK])
            for keys, ids in lanes.items()
            for start in range(0, len(ids), PUSH_CHUNK)
        ]
        if not calls:
            return
        try:
            await self._carry_out(calls)
        except ServerUnavailable as error:
            # An id that is pushed twice is claimed once. A connection that broke, or that leads to a replica
            # since a failover, therefore costs no more than another try.
            if not isinstance(error.__cause__, redis.ConnectionError | ReadOnlyError):
                raise
            await self._carry_out(calls)

    async def fetch(
        self,
        worker: UUID,
        queues: Sequence[str],
        *,
        wanted: int,
        served: int,
        idle: bool,
        may_stop: bool = True,
        wait_s: float = 0.0,
    ) -> Fetched:
        """Move up to `wanted` ids from the lanes of `queues` into the worker's unacked set.

        `may_stop`: while ordinary work waits, the worker may get a turn all the same.
        With `wait_s` (below the socket's own time-out) block for so long until a queue has a wake token, and
        then fetch: one round trip for both.
        """
        keys = [unacked_key(worker), *fetch_keys(tuple(queues))]
        flags = int(idle), int(may_stop)
        calls = [self._fetch.call(self._system, keys, wanted, served, *flags, TURN_MS, worker.hex)]
        if wait_s:
            calls.insert(0, ("BLPOP", *(wake_key(queue) for queue in queues), wait_s))
        ids, suspects, turn, alone, waiting = await self._carry_out(calls)
        return Fetched(ids, bool(suspects), bool(turn), bool(alone), waiting)

    async def push_past(self, queue: str, task_id: UUID) -> None:
        """Let a task run although its queue is paused. Its row has to be due or sent."""
        pipe = self.client.pipeline(transaction=False)
        pipe.rpush(past_key(queue), task_id.bytes)
        # Workers take from this list only while the queue is paused.
        pipe.expire(past_key(queue), PAST_LIFE_S)
        await answer_of(pipe.execute())

    async def take_past(self, worker: UUID, queues: Sequence[str], *, wanted: int) -> list[UUID]:
        """Move up to `wanted` such ids of paused queues into the worker's unacked set."""
        keys = [unacked_key(worker), *(past_key(queue) for queue in queues)]
        (ids,) = await self._carry_out([self._past.call(self._system, keys, wanted)])
        return list(ids)

    async def renew_turn(self, worker: UUID, queue: str) -> None:
        """Keep the turn of a queue while a suspect runs alone."""
        await answer_of(self.client.set(turn_key(queue), worker.hex, px=TURN_MS))

    async def _run(self, script: Script, key: str, *arguments: Any) -> list[UUID]:
        """Run a script that reads ids from one key."""
        (ids,) = await self._carry_out([script.call(self._system, [key], *arguments)])
        return list(ids)

    async def _carry_out(self, calls: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
        """Send commands in one round trip. Returns the ids that the last script found, and what it adds."""
        try:
            answers = await answer_of(self._send(calls))
        except NoScriptError:
            # A new Redis, which has what BLPOP waited for. An id that is pushed twice is claimed once.
            for script in (self._push, self._fetch, self._head, self._unacked, self._past):
                await answer_of(self.client.script_load(script.text))
            return await self._carry_out([call for call in calls if call[0] == "EVALSHA"])
        for answer in answers:
            if isinstance(answer[0], bytes):
                raise Stranger(answer[0].decode(), self._system)
            _report(dropped=answer[1], moved=answer[2])
        ids, _, _, *more = answers[-1]
        return [UUID(bytes=i) for i in ids], *more

    async def _send(self, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The answers of the scripts. Raises the first error."""
        client: Any = self.client
        if len(calls) == 1:
            return [await client.execute_command(*calls[0])]
        pipe = client.pipeline(transaction=False)
        for call in calls:
            pipe.execute_command(*call)
        answers = await pipe.execute(raise_on_error=False)
        for call, answer in zip(calls, answers, strict=True):
            # A wake list that is no list is cleared away by the script that follows.
            if isinstance(answer, Exception) and not (call[0] == "BLPOP" and _is_wrong_type(answer)):
                raise answer
        return [answer for call, answer in zip(calls, answers, strict=True) if call[0] == "EVALSHA"]

    async def acknowledge(self, worker: UUID, ids: Iterable[UUID]) -> None:
        """Forget ids whose outcome is committed."""
        members = [i.bytes for i in ids]
        if members:
            await answer_of(self.client.srem(unacked_key(worker), *members))

    async def unacked(self, worker: UUID) -> set[UUID]:
        """The ids that this worker fetched and did not acknowledge."""
        return set(await self._run(self._unacked, unacked_key(worker)))

    async def forget(self, worker: UUID) -> None:
        """Delete the unacked set of a worker that is gone."""
        await answer_of(self.client.delete(unacked_key(worker)))

    async def head(self, queue: str, priority: int, count: int) -> list[UUID]:
        """The ids that are popped next from a lane."""
        return await self._run(self._head, lane_key(queue, priority), count)

    async def rescued_head(self, queue: str, count: int) -> list[UUID]:
        """The ids that are popped next from the lane of rescued ones."""
        return await self._run(self._head, rescue_key(queue), count)

    async def depths(self, queue: str) -> tuple[int, dict[int, int]]:
        """How many ids lie in the lane of rescued ones, and in the others by priority."""
        pipe = self.client.pipeline(transaction=False)
        for key in (rescue_key(queue), *(lane_key(queue, p) for p in PRIORITIES)):
            pipe.llen(key)
        answers = await answer_of(pipe.execute(raise_on_error=False))
        # A key that is no list holds no ids.
        rescued, *lanes = [0 if _is_wrong_type(answer) else answer for answer in answers]
        return rescued, dict(zip(PRIORITIES, lanes, strict=True))

    async def generation(self) -> int | None:
        """The number that was written after the lanes were last complete; None when Redis lost it.

        Raises Stranger when this Redis belongs to another system.
        """
        owner, number = await answer_of(self.client.mget(SYSTEM_KEY, GENERATION_KEY))
        if self.system and _is_system(owner) and owner != self._system.encode():
            raise Stranger(owner.decode(), self._system)
        try:
            return None if number is None else int(number)
        except ValueError:
            return None

    async def set_generation(self, number: int) -> None:
        """Say which number the lanes have, and whose they are."""
        owned = {SYSTEM_KEY: self._system} if self.system else {}
        await answer_of(self.client.mset({GENERATION_KEY: number, **owned}))

    async def checked_at(self) -> datetime | None:
        """The latest check of the lanes that Redis has been told of; None when it lost that."""
        # MGET finds no value where the key has another type; GET would raise for ever.
        (text,) = await answer_of(self.client.mget(CHECKED_KEY))
        try:
            return datetime.fromisoformat(text.decode()).astimezone(UTC)
        except (AttributeError, ValueError, OverflowError):  # None, and values of other programs
            return None

    async def set_checked_at(self, moment: datetime) -> None:
        """Tell Redis when the ledger says that the lanes were checked; the ledger must have committed it."""
        await answer_of(self.client.set(CHECKED_KEY, moment.isoformat()))

    async def run_id(self) -> str:
        """Changes when Redis restarts or fails over."""
        server = await answer_of(self.client.info("server"))
        replication = await answer_of(self.client.info("replication"))
        return f"{server['run_id']}:{replication['master_replid']}"

    async def announce_cancel(self, task_id: UUID) -> None:
        """Hint to the workers that listen; one that misses it learns it from its heartbeat."""
        await answer_of(self.client.publish(self.cancel_channel, task_id.bytes))


def _report(*, dropped: int, moved: Sequence[bytes]) -> None:
    """Log what another program left under our keys."""
    if dropped:
        text = (
            "dropped %d entries that are no task ids; check whether another program writes to this database"
        )
        log.warning(text, dropped)
    for key in moved:
        name = key.decode(errors="replace")
        text = "%s held a value of the wrong type, which was moved to %s:misplaced; inspect it, then DEL it"
        log.warning(text, name, name)


def _is_wrong_type(answer: Any) -> bool:
    return isinstance(answer, ResponseError) and str(answer).startswith("WRONGTYPE")


def _is_system(owner: bytes | None) -> bool:
    """Whether a value looks like the id of a system; anything else is garbage and owns nothing."""
    return owner is not None and len(owner) == 32 and set(owner) <= set(b"0123456789abcdef")
