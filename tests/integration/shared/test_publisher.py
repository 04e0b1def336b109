"""Tests of a publisher whose messages Redis refuses: both of its ways to publish behave the
same.
"""

import logging
import secrets
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
import redis.asyncio as redis
from prometheus_client import REGISTRY

from shared.transport import events
from shared.transport.events import Changes, Publisher
from shared.transport.queues import Queues, connect
from tests.eventually import eventually

CHANGES = Changes(logged=[uuid4()])


class Refused:
    """A publisher whose Redis user may publish only while the test allows it."""

    def __init__(self, queues: Queues, administrator: Any, user: str) -> None:
        self.queues = queues
        self.publisher = Publisher(queues)
        self._administrator = administrator
        self._user = user

    async def let(self, *rules: str) -> None:
        await self._administrator.execute_command("ACL", "SETUSER", self._user, *rules)

    async def publish(self, path: str, changes: Any = lambda: CHANGES) -> None:
        self.publisher._asked = float("-inf")  # so that the next message is due at once
        if path == "acknowledge":
            await self.publisher.acknowledge(uuid4(), [uuid4()], changes)
            return
        self.publisher.soon(changes)
        sending = self.publisher._sending
        if sending is not None:
            await sending


@pytest.fixture
async def refused(redis_url: str) -> AsyncIterator[Refused]:
    user, password = f"test-{secrets.token_hex(4)}", secrets.token_hex(8)
    administrator: Any  # redis-py declares no type for `execute_command`
    async with redis.Redis.from_url(redis_url) as administrator:
        before, _, server = redis_url.rpartition("@")
        queues = Queues(connect(f"{before.partition('://')[0]}://{user}:{password}@{server}"))
        queues.system = uuid4()
        made = Refused(queues, administrator, user)
        await made.let("on", f">{password}", "~*", "&*", "+@all", "-publish")
        yield made
        await queues.client.aclose()
        await administrator.execute_command("ACL", "DELUSER", user)


@pytest.mark.parametrize("path", ["acknowledge", "soon"])
async def test_a_refused_message_is_counted_each_time_and_logged_once(
    refused: Refused, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    caplog.set_level(logging.INFO, events.__name__)
    before = _failures()
    for _ in range(3):
        await refused.publish(path)
    (record,) = caplog.records
    assert "cannot be published" in record.message
    assert record.exc_info
    assert "publish" in str(record.exc_info[1])
    assert _failures() - before == 3

    await refused.let("+publish")
    await refused.publish(path)
    assert "publishing changes works again after 3 failures" in caplog.records[-1].message
    await refused.let("-publish")
    await refused.publish(path)
    assert [each.levelname for each in caplog.records] == ["WARNING", "INFO", "WARNING"]


@pytest.mark.parametrize("path", ["acknowledge", "soon"])
@pytest.mark.parametrize("wrong", ["not made", "not encoded"])
async def test_changes_that_cannot_be_made_hurt_nothing_that_was_committed(
    refused: Refused, caplog: pytest.LogCaptureFixture, path: str, wrong: str
) -> None:
    def changes() -> Changes:
        if wrong == "not made":
            raise KeyError("revision")
        nonsense: Any = [2**70]
        return Changes(logged=nonsense)

    await refused.let("+publish")
    before = _failures()
    for _ in range(2):
        await refused.publish(path, changes)
    (record,) = caplog.records
    assert record.exc_info
    assert _failures() - before == 2
    async with refused.queues.client.pubsub() as heard:
        await heard.subscribe(refused.queues.events_channel)
        await refused.publish(path)

        async def message() -> bool:
            return (await heard.get_message(ignore_subscribe_messages=True, timeout=1)) is not None

        await eventually(message, 10)


def _failures() -> float:
    return REGISTRY.get_sample_value("often_publish_failures_total") or 0.0
