"""Tests of Ctrl-C while the launcher is doing blocking work in a thread."""

import asyncio
import threading

import pytest

from local import launcher


@pytest.fixture
def release() -> threading.Event:
    return threading.Event()


async def test_work_under_way_is_finished_before_the_stop(release: threading.Event) -> None:
    begun, ended = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        release.wait()
        ended.set()

    working = asyncio.create_task(launcher._thoroughly(work))
    await asyncio.to_thread(begun.wait)
    working.cancel()
    asyncio.get_running_loop().call_later(0.05, release.set)

    with pytest.raises(asyncio.CancelledError):
        await working
    assert ended.is_set()


async def test_work_that_hangs_does_not_block_the_launcher(
    release: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "FINISH_S", 0.05)
    begun = threading.Event()

    def work() -> None:
        begun.set()
        release.wait()

    working = asyncio.create_task(launcher._thoroughly(work))
    await asyncio.to_thread(begun.wait)
    working.cancel()

    done, _ = await asyncio.wait([working], timeout=5)
    release.set()  # let the thread end, because the event loop closes only after its threads have ended
    assert working in done
    assert working.cancelled()
