import asyncio
import time

import pytest

from shared.ledger.time_limit import TICK_S, timeout


async def test_a_statement_times_out_when_the_loop_runs_and_nothing_comes() -> None:
    with pytest.raises(TimeoutError):
        async with timeout(2 * TICK_S):
            await asyncio.get_running_loop().create_future()


async def test_time_in_which_the_loop_could_not_run_counts_as_one_moment() -> None:
    async with timeout(2 * TICK_S):
        for _ in range(2):
            time.sleep(3 * TICK_S)  # noqa: ASYNC251 # as a body does that keeps the interpreter
            await asyncio.sleep(0)
