"""Tests of the keeper of background loops: a loop survives an error in a round, and is reported
when it stalls.
"""

import asyncio
import contextlib
import logging

import pytest

from shared import keeper as keeper_module
from shared.errors import ServerAway
from shared.keeper import Keeper
from tests.eventually import eventually
from tests.metric_values import value


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "FIRST_PAUSE_S", 0.001)


async def test_a_loop_outlives_its_errors_and_logs_each_kind_as_it_deserves(
    caplog: pytest.LogCaptureFixture,
) -> None:
    met: list[Exception | None] = [KeyError("a defect"), ServerAway("Postgres"), None]
    turns = 0

    async def run_once() -> None:
        nonlocal turns
        turns += 1
        if met and (error := met.pop(0)) is not None:
            raise error

    keeper = Keeper()
    with caplog.at_level(logging.INFO):
        loop = asyncio.create_task(keeper.keep("sample", run_once, every_s=0.001))
        await eventually(lambda: turns > 4)
        loop.cancel()

    defect, away, well = caplog.records[:3]
    assert (defect.levelname, away.levelname, well.levelname) == ("ERROR", "WARNING", "INFO")
    assert defect.exc_info is not None
    assert defect.exc_info[0] is KeyError
    assert away.exc_info is None
    assert value("often_loop_errors_total", loop="sample") == 2


async def test_a_long_outage_does_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    monotone = 0

    async def run_once() -> None:
        nonlocal monotone
        monotone += 1
        raise ServerAway("Redis")

    keeper_module.MAX_PAUSE_S, before = 0.001, keeper_module.MAX_PAUSE_S
    try:
        loop = asyncio.create_task(Keeper().keep("flood", run_once))
        await eventually(lambda: monotone >= 32)
        loop.cancel()
    finally:
        keeper_module.MAX_PAUSE_S = before
    assert len(caplog.records) <= 7


async def test_a_loop_outlives_an_outage_of_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "MAX_PAUSE_S", 0.0)
    stop, rounds = asyncio.Event(), 0

    async def run_once() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 1_100:
            stop.set()
        raise ServerAway("Postgres")

    await Keeper().keep("outage", run_once, stop=stop)
    assert rounds == 1_100


async def test_a_round_that_hangs_is_a_stalled_loop_and_progress_is_not() -> None:
    keeper = Keeper()
    hang = asyncio.Event()
    loop = asyncio.create_task(keeper.keep("hangs", hang.wait, stall_s=0.05))
    await eventually(lambda: keeper.stalled() == ["hangs"])
    keeper.turned("hangs")
    assert keeper.stalled() == []
    loop.cancel()
    await eventually(loop.done)
    assert keeper.stalled() == ["hangs"]


async def test_a_set_stop_ends_the_loop_without_waiting_for_its_pause() -> None:
    stop = asyncio.Event()
    ran = asyncio.Event()

    async def run_once() -> None:
        ran.set()

    loop = asyncio.create_task(Keeper().keep("stops", run_once, every_s=3600, stop=stop))
    await ran.wait()
    stop.set()
    async with asyncio.timeout(5):
        await loop


async def test_a_loop_ends_although_a_round_swallows_its_cancellation() -> None:
    begun = asyncio.Event()

    async def run_once() -> None:
        begun.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    loop = asyncio.create_task(Keeper().keep("deaf", run_once, every_s=0.001))
    await begun.wait()
    loop.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait([loop])
    assert loop.cancelled()
