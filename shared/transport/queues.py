"""Ids on their way through Redis: push into lanes, wake, fetch, acknowledge.

A queue is eleven lists of 16-byte task ids: one per priority and one for rescued ids. Redis may be wiped at
any moment; the ledger knows what was here.
"""

import functools
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any
from uuid import UUID

import msgspec
import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer
from redis.exceptions import NoScriptError, RedisError

from shared.errors import ServerAway, ServerRefuses

PRIORITIES = range(9, -1, -1)

GENERATION_KEY = "often:generation"
TURN_KEY = "often:turn"
CANCEL_CHANNEL = "often:cancel"

#: Wake tokens kept per queue; more idle workers than this find out a moment later.
MAX_WAKE_TOKENS = 32
#: Ids per RPUSH; keeps one command short for the other clients of Redis.
PUSH_CHUNK = 5_000
#: Redis' own answer comes in a millisecond; past this it counts as away.
SOCKET_TIMEOUT_S = 2.0


@functools.cache
def lane_key(queue: str, priority: int) -> str:
    """One of a few, asked for with each id."""
    return f"often:lane:{queue}:{priority}"


def rescue_key(queue: str) -> str:
    return f"often:lane:{queue}:rescued"


def wake_key(queue: str) -> str:
    return f"often:wake:{queue}"


def unacked_key(worker: UUID) -> str:
    return f"often:unacked:{worker.hex}"


def connect(redis_url: str, *, socket_timeout_s: float = SOCKET_TIMEOUT_S) -> "redis.Redis":
    """A client without retries: a script that took ids must not run again because its answer was lost."""
    client = redis.Redis.from_url(
        redis_url,
        socket_timeout=socket_timeout_s,
        socket_connect_timeout=socket_timeout_s,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=30,
    )
    pool = client.connection_pool
    pool.connection_class = type("Connection", (_PacksFast, pool.connection_class), {})
    return client


class _PacksFast:
    """Commands are packed by hiredis, as redis-py's blocking client does it: a fetch names 86 keys."""

    def pack_command(self, *arguments: Any) -> Any:
        return HiredisRespSerializer().pack(*arguments)


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
    #: The one id is a suspect and runs alone.
    alone: bool
    #: A suspect waits for this worker to run out of work.
    turn: bool


class _Script:
    """A file of this package that Redis runs as one step."""

    def __init__(self, file: str) -> None:
        self.text = files(__package__).joinpath(file).read_text()
        self._sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def call(self, keys: Sequence[str], *arguments: Any) -> tuple[Any, ...]:
        return ("EVALSHA", self._sha, len(keys), *keys, *arguments)


class Queues:
    """The lanes in one Redis. Every method raises ServerUnavailable when Redis does not serve it."""

    def __init__(self, client: "redis.Redis") -> None:
        self.client = client
        self._push, self._fetch = _Script("push.lua"), _Script("fetch.lua")

    async def push(self, addresses: Iterable[Address]) -> None:
        """Append ids to their lanes in order and wake one idle worker for each, up to a bound."""
        lanes: dict[tuple[str, str], list[bytes]] = defaultdict(list)
        for address in addresses:
            lanes[address.lane, wake_key(address.queue)].append(address.id.bytes)
        calls = [
            self._push.call(keys, MAX_WAKE_TOKENS, *ids[start : start + PUSH_CHUNK])
            for keys, ids in lanes.items()
            for start in range(0, len(ids), PUSH_CHUNK)
        ]
        if calls:
            await self._carry_out(calls)

    async def fetch(
        self,
        worker: UUID,
        queues: Sequence[str],
        *,
        wanted: int,
        served: int,
        idle: bool,
        wait_s: float = 0.0,
    ) -> Fetched:
        """Move up to `wanted` ids from the lanes of `queues` into the worker's unacked set.

        With `wait_s` (below the socket's own time-out) block for so long until a queue has a wake token, and
        then fetch: one round trip for both.
        """
        keys = [unacked_key(worker), TURN_KEY, *_lanes(tuple(queues))]
        calls = [self._fetch.call(keys, wanted, served, int(idle), worker.hex)]
        if wait_s:
            calls.insert(0, ("BLPOP", *(wake_key(queue) for queue in queues), wait_s))
        ids, alone, turn = await self._carry_out(calls)
        return Fetched([UUID(bytes=i) for i in ids], bool(alone), bool(turn))

    async def _carry_out(self, calls: Sequence[tuple[Any, ...]]) -> Any:
        """Send commands in one round trip. Returns the answer to the last."""
        try:
            pipe: Any = self.client
            if len(calls) == 1:
                return await _answer(pipe.execute_command(*calls[0]))
            pipe = self.client.pipeline(transaction=False)
            for call in calls:
                pipe.execute_command(*call)
            return (await _answer(pipe.execute()))[-1]
        except NoScriptError:
            # A new Redis, which has what BLPOP waited for. An id that is pushed twice is claimed once.
            for script in (self._push, self._fetch):
                await _answer(self.client.script_load(script.text))
            return await self._carry_out([call for call in calls if call[0] == "EVALSHA"])

    async def acknowledge(self, worker: UUID, ids: Iterable[UUID]) -> None:
        """Forget ids whose outcome is committed."""
        members = [i.bytes for i in ids]
        if members:
            await _answer(self.client.srem(unacked_key(worker), *members))

    async def unacked(self, worker: UUID) -> set[UUID]:
        """The ids that this worker fetched and did not acknowledge."""
        return {UUID(bytes=i) for i in await _answer(self.client.smembers(unacked_key(worker)))}

    async def forget(self, worker: UUID) -> None:
        """Delete the unacked set of a worker that is gone."""
        await _answer(self.client.delete(unacked_key(worker)))

    async def head(self, queue: str, priority: int, count: int) -> list[UUID]:
        """The ids that are popped next from a lane."""
        ids = await _answer(self.client.lrange(lane_key(queue, priority), 0, count - 1))
        return [UUID(bytes=i) for i in ids]

    async def rescued_head(self, queue: str, count: int) -> list[UUID]:
        """The ids that are popped next from the lane of rescued ones."""
        ids = await _answer(self.client.lrange(rescue_key(queue), 0, count - 1))
        return [UUID(bytes=i) for i in ids]

    async def depths(self, queue: str) -> tuple[int, dict[int, int]]:
        """How many ids lie in the lane of rescued ones, and in the others by priority."""
        pipe = self.client.pipeline(transaction=False)
        for key in (rescue_key(queue), *(lane_key(queue, p) for p in PRIORITIES)):
            pipe.llen(key)
        rescued, *lanes = await _answer(pipe.execute())
        return rescued, dict(zip(PRIORITIES, lanes, strict=True))

    async def generation(self) -> int | None:
        """The number that was written after the lanes were last complete; None when Redis lost it."""
        value = await _answer(self.client.get(GENERATION_KEY))
        return None if value is None else int(value)

    async def set_generation(self, number: int) -> None:
        await _answer(self.client.set(GENERATION_KEY, number))

    async def run_id(self) -> str:
        """Changes when Redis restarts or fails over."""
        server = await _answer(self.client.info("server"))
        replication = await _answer(self.client.info("replication"))
        return f"{server['run_id']}:{replication['master_replid']}"

    async def announce_cancel(self, task_id: UUID) -> None:
        """Tell the workers that listen; one that does not learns it from its heartbeat."""
        await _answer(self.client.publish(CANCEL_CHANNEL, task_id.bytes))


@functools.cache
def _lanes(queues: tuple[str, ...]) -> list[str]:
    """The keys of these queues, in the order of `fetch.lua`."""
    return [
        key
        for queue in queues
        for key in (rescue_key(queue), *(lane_key(queue, p) for p in PRIORITIES), wake_key(queue))
    ]


async def _answer(command: Any) -> Any:
    try:
        return await command
    except NoScriptError:
        raise
    except (redis.ConnectionError, redis.TimeoutError, OSError, TimeoutError) as error:
        raise ServerAway("Redis", reason=str(error)) from error
    except RedisError as error:
        raise ServerRefuses("Redis", str(error)) from error
