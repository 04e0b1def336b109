"""Writes garbage into Redis, as another program or a person with redis-cli might."""

import contextlib
from collections.abc import Iterable
from uuid import UUID, uuid4

import redis

from shared.transport.keys import (
    GENERATION_KEY,
    PRIORITIES,
    SYSTEM_KEY,
    lane_key,
    rescue_key,
    spare_key,
    turn_key,
    unacked_key,
    wake_key,
)

#: Entries that are not valid task ids: too short, too long, and empty.
BAD_IDS = ("xx", b"\xff" * 17, "")
LARGE = b"x" * 20_000_000


def soil(client: "redis.Redis", worker: UUID, queue: str) -> None:
    """Write garbage to every Redis key of a queue, of a worker and of the platform."""
    for priority in PRIORITIES:
        _rpush(client, lane_key(queue, priority), *BAD_IDS)
    _rpush(client, rescue_key(queue), "xx")
    _sadd(client, unacked_key(worker), *BAD_IDS[:2])
    client.set(GENERATION_KEY, "hello")
    client.set(SYSTEM_KEY, "hello")
    client.set(turn_key(queue), "hello")
    client.set(spare_key(queue), "hello")
    for key in (wake_key(queue), lane_key(queue, 0), lane_key("maintenance", 0), rescue_key("email")):
        overwrite(client, key)


def overwrite(client: "redis.Redis", key: str) -> None:
    """Replace the value of a key with a value of another type."""
    was_text = client.type(key) == b"string"
    # both commands run in one transaction, because the system may write the key in between
    with client.pipeline() as both:
        both.delete(key)
        if was_text:
            both.rpush(key, "hello")
        else:
            both.set(key, "hello")
        both.execute()


def overwrite_all(client: "redis.Redis") -> int:
    """Replace the value of every key of the platform with a value of another type. Returns the
    number of keys.
    """
    keys = [key for key in client.scan_iter("often:*") if not key.endswith(b":misplaced")]
    for key in keys:
        overwrite(client, key)
    return len(keys)


def enlarge(client: "redis.Redis", worker: UUID, queue: str) -> None:
    """Add a huge entry to a queue's list and to a worker's set of unacknowledged ids, from both of
    which ids are read.
    """
    _rpush(client, lane_key(queue, 5), LARGE)
    _sadd(client, unacked_key(worker), LARGE)


def forge(client: "redis.Redis", channels: Iterable[str], running: Iterable[UUID]) -> None:
    """Publish forged messages: requests to cancel running and unknown tasks, and messages without a
    meaning.
    """
    messages = (b"hello", b"", b"\xff" * 100_000, uuid4().bytes, *(task_id.bytes for task_id in running))
    for channel in channels:
        for message in messages:
            client.publish(channel, message)


def _rpush(client: "redis.Redis", key: str, *values: str | bytes) -> None:
    """Append entries to a list. If the key has another type, it contains garbage already and is not
    changed.
    """
    with contextlib.suppress(redis.ResponseError):
        client.rpush(key, *values)


def _sadd(client: "redis.Redis", key: str, *values: str | bytes) -> None:
    with contextlib.suppress(redis.ResponseError):
        client.sadd(key, *values)
