import asyncio
import logging
import time

import pytest

from shared.errors import ServerAway
from shared.ledger.database import Database
from shared.ledger.time_limit import TICK_S, timeout


async def test_a_statement_times_out_when_the_loop_runs_and_no_answer_arrives() -> None:
    with pytest.raises(TimeoutError):
        async with timeout(2 * TICK_S):
            await asyncio.get_running_loop().create_future()


async def test_time_in_which_the_loop_could_not_run_counts_as_one_moment() -> None:
    async with timeout(2 * TICK_S):
        for _ in range(2):
            time.sleep(3 * TICK_S)  # noqa: ASYNC251 # as a body does that keeps the interpreter
            await asyncio.sleep(0)


async def test_the_log_line_about_an_unavailable_postgres_names_the_pool_and_what_follows(
    caplog: pytest.LogCaptureFixture,
) -> None:
    database = Database.for_service("postgres://127.0.0.1:1/nowhere", "api-reads")
    for _ in range(2):
        with pytest.raises(ServerAway):
            async with database.translated():
                raise ConnectionRefusedError("refused")
    (record,) = caplog.records
    assert (record.levelno, record.__dict__["pool"]) == (logging.WARNING, "api-reads")
    assert record.getMessage().startswith("Postgres does not answer")
    assert "fail until Postgres works again, and their callers try again" in record.getMessage()
