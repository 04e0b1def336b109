"""Tests random task bodies: whatever a body calls, raises or returns, its task ends, and the worker
continues.

All examples run in one worker process. `--hypothesis-profile=many` draws 2,000 of them.
"""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.contract import Contract
from shared.errors import Cancelled, ExpectedError, PermanentError, Retry
from tests.eventually import eventually
from tests.odd_bodies import ODD, ODD_ASYNC, Call, Odd, Script, params
from tests.platform import Platform
from tests.sample_tasks import INSTANT, Done, Nothing

#: Random values for arguments: some that are easily taken for valid ones, and any others.
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-2, 200),
    st.sampled_from([2**31 - 1, 2**31, 2**63, -(2**63) - 1, 10**400]),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["", "a\0b", "\ud800", "k" * 12_000, "%d %s", "{}"]),
    st.binary(max_size=8),
    st.timedeltas(),
    st.datetimes(),
    st.datetimes(timezones=st.just(UTC)),
    st.sampled_from([timedelta.max, datetime(9999, 12, 31, tzinfo=UTC), UUID(int=1)]),
    st.sampled_from([INSTANT, Nothing(), Done(attempt=1), Nothing, Done, object, logging.INFO]),
    st.lists(st.integers() | st.text(max_size=3), max_size=3),
    st.dictionaries(st.text(max_size=3) | st.integers(), st.integers(), max_size=3),
    st.sets(st.integers(), max_size=2),
)
NAMES = st.sampled_from(["current", "total", "message", "key", "at_once", "delay", "priority", "nonsense"])
OPTIONS = st.dictionaries(NAMES, VALUES, max_size=3).map(lambda given: tuple(given.items()))
METHODS = st.sampled_from(
    ["progress", "submit", "raise_if_cancelled", "gateway", "complete_in", "wait_for", "transaction", "log"]
    + [f"log.{name}" for name in ("debug", "info", "warning", "error", "exception", "critical", "log")]
)
#: Random calls of the context. In some of them all arguments but one are valid, so that later
#: checks are reached, too.
CALLS = st.one_of(
    st.builds(Call, METHODS, st.lists(VALUES, max_size=3).map(tuple), OPTIONS),
    st.builds(Call, st.just("progress"), st.tuples(st.integers(0, 9), VALUES, VALUES)),
    st.builds(Call, st.just("submit"), st.just((INSTANT, Nothing())), OPTIONS),
    st.builds(Call, st.just("wait_for"), st.tuples(VALUES)),
    st.builds(Call, st.just("log.info"), st.lists(VALUES, min_size=1, max_size=3).map(tuple)),
)
RETRY_OPTIONS = st.dictionaries(st.sampled_from(["delay_s", "at"]), VALUES, max_size=2)
RAISED = st.one_of(
    st.none(),
    st.none(),
    st.tuples(st.just(Retry), st.tuples(VALUES), RETRY_OPTIONS.map(lambda given: tuple(given.items()))),
    st.tuples(
        st.sampled_from([ExpectedError, PermanentError, Cancelled, ValueError, KeyError, UnicodeError]),
        st.lists(VALUES, max_size=2).map(tuple),
        st.just(()),
    ),
)
RESULTS = st.one_of(st.just(Done(attempt=1)), st.builds(Done, attempt=VALUES), VALUES)
SCRIPTS = st.builds(Script, st.lists(CALLS, max_size=4).map(tuple), st.booleans(), RAISED, RESULTS)

#: Statuses of a task after its first attempt. A task in `retry` waits for its second attempt.
ENDED = ("success", "failure", "revoked", "retry")


async def test_whatever_a_body_calls_or_returns_its_task_ends_and_the_worker_continues(
    platform: Platform,
) -> None:
    process = platform.start("tests.odd_bodies")
    worker = await eventually(lambda: platform.worker_of(process))
    loop = asyncio.get_running_loop()

    async def run(contract: Contract[Odd, Done], script: Script) -> None:
        (odd_id,) = await platform.submit(contract, params(script))
        (canary,) = await platform.submit(INSTANT, Nothing())
        ended = await platform.until(odd_id, *ENDED)
        assert (ended["attempt"], ended["crashes"], ended["interruptions"]) == (1, 0, 0)
        assert ended["status"] == "success" or ended["error_message"] or ended["status"] == "revoked"
        after = await platform.until(canary, *ENDED)
        assert (after["status"], after["worker"]) == ("success", worker)

    @given(st.sampled_from([ODD, ODD_ASYNC]), SCRIPTS)
    def any_body(contract: Contract[Odd, Done], script: Script) -> None:
        asyncio.run_coroutine_threadsafe(run(contract, script), loop).result(60)

    await asyncio.to_thread(any_body)
    assert process.poll() is None
    log = platform.log_of(process)
    # Loggers of bodies are named `task.…`, so what bodies log does not count. The worker itself
    # must not log a critical error.
    assert [
        line for line in log.splitlines() if " CRITICAL services" in line or "middleware failed" in line
    ] == []
