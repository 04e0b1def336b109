"""Tests of a value that is read at most once per moment, so that several callers share one
answer.
"""

import asyncio

import pytest

from services.api.fresh import Fresh


class Source:
    def __init__(self) -> None:
        self.reads = 0
        self.fails = False

    async def read(self) -> int:
        self.reads += 1
        await asyncio.sleep(0)
        if self.fails:
            raise OSError("away")
        return self.reads


async def test_callers_within_a_moment_share_one_read() -> None:
    source = Source()
    fresh = Fresh(source.read, 60)
    answers = await asyncio.gather(*(fresh.get() for _ in range(20)))
    assert (set(answers), source.reads) == ({1}, 1)


async def test_an_old_answer_is_read_again() -> None:
    source = Source()
    fresh = Fresh(source.read, 0)
    assert [await fresh.get(), await fresh.get()] == [1, 2]


async def test_a_failed_read_is_not_kept() -> None:
    source = Source()
    fresh = Fresh(source.read, 60)
    source.fails = True
    with pytest.raises(OSError, match="away"):
        await fresh.get()
    source.fails = False
    assert await fresh.get() == 2


async def test_callers_that_wait_for_a_read_that_fails_share_its_error() -> None:
    source = Source()
    source.fails = True
    fresh = Fresh(source.read, 60)
    answers = await asyncio.gather(*(fresh.get() for _ in range(20)), return_exceptions=True)
    assert (source.reads, {str(answer) for answer in answers}) == (1, {"away"})


async def test_a_caller_that_gives_up_does_not_end_the_read_for_the_others() -> None:
    source = Source()
    fresh = Fresh(source.read, 60)
    first, second = asyncio.create_task(fresh.get()), asyncio.create_task(fresh.get())
    await asyncio.sleep(0)
    first.cancel()
    assert (await second, source.reads) == (1, 1)
