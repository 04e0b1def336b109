"""Tests of the cache of facts about callers: each is used for a moment, and no longer."""

import asyncio

import pytest

from services.api.identity import remembered
from services.api.identity.remembered import MAX_AGE_S, Remembered
from tests.eventually import eventually


class Database:
    """A database that answers only when the test allows it, with the value that it had at the time
    of the query.
    """

    def __init__(self) -> None:
        self.now = 100.0
        self.value = "first"
        self.asked = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self.remembered = Remembered(self._ask, lambda: self.now)

    async def _ask(self, _: str) -> str:
        self.asked += 1
        value = self.value
        await self.answers.wait()
        return value

    async def get(self, key: str = "k") -> str:
        return await self.remembered.get(key)


async def _begun(database: Database, number: int) -> None:
    await eventually(lambda: database.asked >= number)


async def test_an_answer_serves_until_it_is_too_old() -> None:
    database = Database()
    assert await database.get() == "first"
    database.value, database.now = "second", database.now + MAX_AGE_S - 0.01
    assert await database.get() == "first"
    database.now += 0.01
    assert await database.get() == "second"
    assert database.asked == 2


async def test_an_answer_is_as_old_as_its_question() -> None:
    database = Database()
    database.answers.clear()
    asked = asyncio.create_task(database.get())
    await _begun(database, 1)
    database.value, database.now = "second", database.now + MAX_AGE_S
    # This request comes after the value has changed, so it must not get the answer of the query
    # that began before.
    late = asyncio.create_task(database.get())
    await _begun(database, 2)
    database.answers.set()
    assert (await asked, await late) == ("first", "second")
    assert await database.get() == "second"


async def test_a_slow_answer_is_used_for_the_rest_of_its_time() -> None:
    database = Database()
    database.answers.clear()
    asked = asyncio.create_task(database.get())
    await _begun(database, 1)
    database.value, database.now = "second", database.now + MAX_AGE_S - 0.1
    database.answers.set()
    assert (await asked, await database.get()) == ("first", "first")
    database.now += 0.1
    assert await database.get() == "second"


async def test_a_forgotten_answer_is_queried_again() -> None:
    database = Database()
    await database.get()
    database.value = "second"
    database.remembered.forget()
    assert await database.get() == "second"


async def test_requests_share_a_query_and_an_abandoned_one_does_not_cancel_it() -> None:
    database = Database()
    database.answers.clear()
    given_up, *others = (asyncio.create_task(database.get()) for _ in range(5))
    await _begun(database, 1)
    given_up.cancel()
    await asyncio.wait([given_up])
    database.answers.set()
    assert await asyncio.gather(*others) == ["first"] * 4
    assert database.asked == 1


async def test_an_answer_on_its_way_during_a_reset_is_not_kept() -> None:
    database = Database()
    database.answers.clear()
    asked = asyncio.create_task(database.get())
    await _begun(database, 1)
    database.value = "second"
    database.remembered.forget()
    database.answers.set()
    assert await asked == "first"
    assert await database.get() == "second"


async def test_a_refusal_is_not_remembered() -> None:
    asked = 0

    async def refuse(_: str) -> str:
        nonlocal asked
        asked += 1
        raise LookupError

    answers = Remembered(refuse)
    for _ in range(2):
        with pytest.raises(LookupError):
            await answers.get("k")
    assert asked == 2


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "MAX_KEPT", 3)
    database = Database()
    for key in "abcd":
        await database.get(key)
    assert [await database.get(key) for key in "bcd"] == ["first"] * 3
    assert database.asked == 4
    await database.get("a")
    assert database.asked == 5
