"""Moves ids of tasks through Redis: pushes them to queues, wakes workers, fetches ids for workers,
and acknowledges them.

A queue consists of eleven Redis lists, called lanes: one per priority, and one for tasks rescued
from dead workers. Each entry is the id of a task (16 bytes). The data in Redis may be lost at any
moment, because it can be restored from Postgres.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import redis.asyncio as redis
from redis.exceptions import ReadOnlyError

from shared.errors import ServerUnavailable, Stranger
from shared.transport.answers import answer_of, is_wrong_type
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
from shared.transport.scripts import Script, Scripts

#: Maximum number of wake tokens per queue, each of which wakes one idle worker. Workers that get no
#: token find the tasks a moment later.
MAX_WAKE_TOKENS = 32
#: How long a worker may stop fetching, in order to run a suspect (a task whose earlier worker died)
#: alone, before it must renew this right (milliseconds). It must be longer than a claim takes.
TURN_MS = 5_000
#: How long an id that may run although its queue is paused waits for a worker, in seconds. After
#: that, the task waits for the end of the pause.
PAST_LIFE_S = 3_600
#: Maximum number of ids that one RPUSH appends. A longer command would delay other clients of
#: Redis.
PUSH_CHUNK = 5_000


class Address(msgspec.Struct, frozen=True, gc=False):
    """The id of a task, and the lane to which it belongs."""

    id: UUID
    queue: str
    priority: int
    rescued: bool = False

    @property
    def lane(self) -> str:
        return rescue_key(self.queue) if self.rescued else lane_key(self.queue, self.priority)


@dataclass(frozen=True, slots=True)
class Fetched:
    """The result of one fetch of a worker."""

    ids: list[UUID]
    #: True if suspects (tasks whose earlier worker died) are waiting for a worker that runs no
    #: other task, or were waiting until this fetch took them.
    suspects: bool
    #: True if this worker has the turn of a queue: it must not fetch until it is idle, and then run
    #: a suspect (a task whose earlier worker died).
    turn: bool
    #: True if the only fetched id is a suspect (a task whose earlier worker died), which has to run
    #: alone.
    alone: bool
    #: Number of ids in the lanes before this fetch, without those of suspects (tasks whose earlier
    #: workers died).
    waiting: int


class Queues:
    """The task queues in one Redis database. Every method raises ServerUnavailable if Redis is
    unavailable.

    The error Stranger, which is one of these, is raised if the Redis database belongs to another
    system; see `shared.system`.
    """

    def __init__(self, client: "redis.Redis") -> None:
        self.client = client
        #: Id of the system to which this process belongs. None until it has been read from the
        #: ledger.
        self.system: UUID | None = None
        self._scripts = Scripts(client)

    @property
    def cancel_channel(self) -> str:
        """Name of the Redis channel for hints about cancellations. It contains the id of the
        system, because all databases of a Redis server share their channels.
        """
        return f"often:cancel:{self._system}"

    @property
    def control_channel(self) -> str:
        """Name of the Redis channel for messages of `shared.transport.control`."""
        return f"often:control:{self._system}"

    @property
    def events_channel(self) -> str:
        """Name of the Redis channel for messages of `shared.transport.events`."""
        return f"often:events:{self._system}"

    @property
    def callers_channel(self) -> str:
        """Name of the Redis channel for messages of `services.api.identity.changes`."""
        return f"often:callers:{self._system}"

    @property
    def _system(self) -> str:
        return self.system.hex if self.system else ""

    async def push(self, addresses: Iterable[Address]) -> None:
        """Append ids to their lanes in order. Wake one idle worker for each id, up to
        MAX_WAKE_TOKENS per queue.
        """
        lanes: dict[tuple[str, str], list[bytes]] = defaultdict(list)
        for address in addresses:
            lanes[address.lane, wake_key(address.queue)].append(address.id.bytes)
        calls = [
            self._scripts.push.call(self._system, keys, MAX_WAKE_TOKENS, *ids[start : start + PUSH_CHUNK])
            for keys, ids in lanes.items()
            for start in range(0, len(ids), PUSH_CHUNK)
        ]
        if not calls:
            return
        try:
            await self._scripts.carry_out(calls, self._system)
        except ServerUnavailable as error:
            # A single retry is safe after a broken connection, or after a refusal by a former
            # primary, because an id that is pushed twice can be claimed only once.
            if not isinstance(error.__cause__, redis.ConnectionError | ReadOnlyError):
                raise
            await self._scripts.carry_out(calls, self._system)

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
        """Move up to `wanted` ids from the lanes of `queues` to the worker's set of unacknowledged
        ids.

        If `may_stop` is set, the result may ask the worker to stop fetching in order to run a
        suspect (a task whose earlier worker died), even while ordinary tasks wait. With `wait_s`,
        which must be less than the time limit of the socket, the call waits up to that long until a
        queue has a wake token, and then fetches, in one round trip.
        """
        keys = [unacked_key(worker), *fetch_keys(tuple(queues))]
        flags = int(idle), int(may_stop)
        calls = [self._scripts.fetch.call(self._system, keys, wanted, served, *flags, TURN_MS, worker.hex)]
        if wait_s:
            calls.insert(0, ("BLPOP", *(wake_key(queue) for queue in queues), wait_s))
        ids, suspects, turn, alone, waiting = await self._scripts.carry_out(calls, self._system)
        return Fetched(ids, bool(suspects), bool(turn), bool(alone), waiting)

    async def push_past(self, queue: str, task_id: UUID) -> None:
        """Let a task run although its queue is paused. The task's row must be due or marked as
        sent.
        """
        pipe = self.client.pipeline(transaction=False)
        pipe.rpush(past_key(queue), task_id.bytes)
        # Workers take ids from this list only while the queue is paused, so entries expire in case
        # the pause ends first.
        pipe.expire(past_key(queue), PAST_LIFE_S)
        await answer_of(pipe.execute())

    async def take_past(self, worker: UUID, queues: Sequence[str], *, wanted: int) -> list[UUID]:
        """Move up to `wanted` ids that may run although their queue is paused to the worker's set
        of unacknowledged ids.
        """
        keys = [unacked_key(worker), *(past_key(queue) for queue in queues)]
        calls = [self._scripts.past.call(self._system, keys, wanted)]
        (ids,) = await self._scripts.carry_out(calls, self._system)
        return list(ids)

    async def renew_turn(self, worker: UUID, queue: str) -> None:
        """Extend the worker's turn of a queue while it runs a suspect (a task whose earlier worker
        died) alone.
        """
        await answer_of(self.client.set(turn_key(queue), worker.hex, px=TURN_MS))

    async def _run(self, script: Script, key: str, *arguments: Any) -> list[UUID]:
        """Run a Lua script that reads ids from one key, and return the ids."""
        (ids,) = await self._scripts.carry_out([script.call(self._system, [key], *arguments)], self._system)
        return list(ids)

    async def acknowledge(self, worker: UUID, ids: Iterable[UUID]) -> None:
        """Remove ids of finished tasks from the worker's set of unacknowledged ids. Their outcomes
        must be committed.
        """
        members = [i.bytes for i in ids]
        if members:
            await answer_of(self.client.srem(unacked_key(worker), *members))

    async def unacked(self, worker: UUID) -> set[UUID]:
        """The ids that this worker has fetched but not acknowledged yet."""
        return set(await self._run(self._scripts.unacked, unacked_key(worker)))

    async def forget(self, worker: UUID) -> None:
        """Delete the set of unacknowledged ids of a worker that has stopped or died."""
        await answer_of(self.client.delete(unacked_key(worker)))

    async def head(self, queue: str, priority: int, count: int) -> list[UUID]:
        """Read the first `count` ids of a lane."""
        return await self._run(self._scripts.head, lane_key(queue, priority), count)

    async def rescued_head(self, queue: str, count: int) -> list[UUID]:
        """Read the first `count` ids of the lane of rescued tasks."""
        return await self._run(self._scripts.head, rescue_key(queue), count)

    async def depths(self, queue: str) -> tuple[int, dict[int, int]]:
        """Count the ids in the lane of rescued tasks, and in each other lane, by priority."""
        pipe = self.client.pipeline(transaction=False)
        for key in (rescue_key(queue), *(lane_key(queue, p) for p in PRIORITIES)):
            pipe.llen(key)
        answers = await answer_of(pipe.execute(raise_on_error=False))
        # A key of another type than a list counts as empty.
        rescued, *lanes = [0 if is_wrong_type(answer) else answer for answer in answers]
        return rescued, dict(zip(PRIORITIES, lanes, strict=True))

    async def waiting(self, queues: Sequence[str], paused: Sequence[str] = ()) -> int:
        """Count the ids in the lanes of `queues`, plus the ids of `paused` queues that may run in
        spite of the pause.
        """
        lanes = [lane_key(queue, priority) for queue in queues for priority in PRIORITIES]
        pipe = self.client.pipeline(transaction=False)
        for key in (*lanes, *(past_key(queue) for queue in paused)):
            pipe.llen(key)
        answers = await answer_of(pipe.execute(raise_on_error=False))
        return sum(answer for answer in answers if not is_wrong_type(answer))

    async def memory(self) -> dict[str, int]:
        """Read how many bytes of memory Redis uses, its memory limit (0 if there is none), and the
        number of connected clients.
        """
        info = await answer_of(self.client.info())
        return {
            "memory_bytes": int(info.get("used_memory", 0)),
            "memory_limit_bytes": int(info.get("maxmemory", 0)),
            "clients": int(info.get("connected_clients", 0)),
        }

    async def generation(self) -> int | None:
        """Read the generation number, which is written once the lanes contain every task that
        should be in them. None if Redis has lost it.

        Raises Stranger if this Redis database belongs to another system.
        """
        owner, number = await answer_of(self.client.mget(SYSTEM_KEY, GENERATION_KEY))
        if self.system and _is_system(owner) and owner != self._system.encode():
            raise Stranger(owner.decode(), self._system)
        try:
            return None if number is None else int(number)
        except ValueError:
            return None

    async def set_generation(self, number: int) -> None:
        """Store the generation number of the lanes, and the id of the system that owns them."""
        owned = {SYSTEM_KEY: self._system} if self.system else {}
        await answer_of(self.client.mset({GENERATION_KEY: number, **owned}))

    async def checked_at(self) -> datetime | None:
        """Read when the lanes were last compared with Postgres. None if Redis has lost
        that time.
        """
        # MGET is used because it returns None for a key of another type, while GET would fail until
        # the key is removed.
        (text,) = await answer_of(self.client.mget(CHECKED_KEY))
        try:
            return datetime.fromisoformat(text.decode()).astimezone(UTC)
        # The value is missing, or another program has written it.
        except (AttributeError, ValueError, OverflowError):
            return None

    async def set_checked_at(self, moment: datetime) -> None:
        """Store when the lanes were last compared with Postgres. The same time must have been
        committed in Postgres before.
        """
        await answer_of(self.client.set(CHECKED_KEY, moment.isoformat()))

    async def run_id(self) -> str:
        """Read an id of the running Redis server. It changes when Redis restarts or fails over to
        another server.
        """
        server = await answer_of(self.client.info("server"))
        replication = await answer_of(self.client.info("replication"))
        return f"{server['run_id']}:{replication['master_replid']}"

    async def announce_cancel(self, *task_ids: UUID) -> None:
        """Tell the listening workers, in one round trip, that these tasks shall be canceled. A
        worker that misses the hint finds the request in Postgres with its next heartbeat.
        """
        pipe = self.client.pipeline(transaction=False)
        for task_id in task_ids:
            pipe.publish(self.cancel_channel, task_id.bytes)
        await answer_of(pipe.execute())


def _is_system(owner: bytes | None) -> bool:
    """True if the value looks like the id of a system. Any other value is ignored and does not
    count as the owner of the database.
    """
    return owner is not None and len(owner) == 32 and set(owner) <= set(b"0123456789abcdef")
