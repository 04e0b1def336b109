"""Tests of how the launcher stops: by Ctrl-C while it is doing blocking work in a thread, and after
its terminal was closed.
"""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from local import launcher

#: A launcher that starts no servers. It writes a file when it has to stop.
PROGRAM = """
import asyncio, pathlib, sys
from local import launcher
async def run():
    print("running", flush=True)
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        pathlib.Path(sys.argv[1]).touch()
        raise
launcher.run = run
sys.exit(launcher.main())
"""


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


@pytest.mark.parametrize("how", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_the_launcher_stops_in_order_although_nobody_reads_what_it_prints(
    how: signal.Signals, tmp_path: Path
) -> None:
    stopped = tmp_path / "stopped"
    reading, writing = os.pipe()
    with subprocess.Popen([sys.executable, "-c", PROGRAM, str(stopped)], stdout=writing) as launched:
        os.close(writing)
        with os.fdopen(reading) as output:
            assert output.readline() == "running\n"
        launched.send_signal(how)
        try:
            assert launched.wait(20) == 0
        finally:
            launched.kill()
    assert stopped.exists()
