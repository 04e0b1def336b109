"""Tests that a subscription to a Redis channel survives broken connections and canceled calls."""

import asyncio
from uuid import uuid4

import pytest

from shared.errors import ServerUnavailable
from shared.transport.queues import Queues, connect
from shared.transport.subscription import Subscription
from tests.cut import Cut
from tests.eventually import eventually


class Listening:
    """A subscription that records when it was opened and when it was lost."""

    def __init__(self, queues: Queues) -> None:
        self.said: list[str] = []
        self.subscription = Subscription(
            queues,
            lambda: queues.events_channel,
            opened=lambda: self.said.append("opened"),
            lost=lambda: self.said.append("lost"),
        )

    async def next(self) -> bytes:
        return await eventually(self.subscription.next)


async def test_a_subscription_that_breaks_is_opened_again_and_says_both(redis_url: str) -> None:
    link, direct = Cut(redis_url), Queues(connect(redis_url))
    async with link.serving() as url:
        queues = Queues(connect(url))
        direct.system = queues.system = uuid4()
        heard = Listening(queues)
        assert await heard.subscription.next() is None
        await direct.client.publish(queues.events_channel, b"first")
        assert await heard.next() == b"first"
        link.cut()
        with pytest.raises(ServerUnavailable):
            await heard.next()
        link.mend()
        assert await heard.subscription.next() is None
        await direct.client.publish(queues.events_channel, b"second")
        assert await heard.next() == b"second"
        assert heard.said == ["opened", "lost", "opened"]
        assert await heard.subscription.close()
        assert not await heard.subscription.close()
        await queues.client.aclose()
    await direct.client.aclose()


async def test_a_caller_that_is_canceled_has_not_lost_redis(redis_url: str) -> None:
    queues = Queues(connect(redis_url))
    queues.system = uuid4()
    heard = Listening(queues)

    async def has_listeners(count: int) -> bool:
        return await queues.client.pubsub_numsub(queues.events_channel) == [
            (queues.events_channel.encode(), count)
        ]

    listening = asyncio.create_task(heard.subscription.next())
    await eventually(lambda: heard.said == ["opened"])
    assert await has_listeners(1)
    listening.cancel()
    (ended,) = await asyncio.gather(listening, return_exceptions=True)
    assert isinstance(ended, asyncio.CancelledError)
    await eventually(lambda: has_listeners(0))
    assert heard.said == ["opened"]
    await queues.client.aclose()


async def test_the_name_of_the_channel_is_waited_for(redis_url: str) -> None:
    queues = Queues(connect(redis_url))
    heard = Listening(queues)
    assert await heard.subscription.next() is None
    assert heard.said == []
    queues.system = uuid4()
    assert await heard.subscription.next() is None
    assert heard.said == ["opened"]
    await heard.subscription.close()
    await queues.client.aclose()
