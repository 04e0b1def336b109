"""Tests of what the context of a task's body checks, inside a worker and when a test runs the body
inline.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.worker.running.context import MAX_LOG_LINES, child_id
from shared.contracts.checks import MAX_CHILDREN, MAX_PROGRESS
from shared.contracts.context import TaskContext
from shared.errors import MAX_DELAY, Cancelled, InvalidFields
from shared.ledger.ids import first_uuid7, uuid7
from shared.testing import InlineContext, InlineRun, run_inline
from shared.workflows.workflow import Workflow
from tests.hostile_tasks import wait_in_loop
from tests.sample_tasks import FAIL, INSTANT, Nothing, Seconds
from tests.starting_tasks import Begins, begin, begin_plainly, begun
from tests.unit.worker.attempts import Running

CONTEXTS: dict[str, Callable[[], TaskContext]] = {
    "worker": lambda: Running.of(FAIL).context,
    "inline": lambda: InlineContext(InlineRun(uuid4()), {}, None, False, None),
}


@pytest.fixture(params=CONTEXTS.values(), ids=list(CONTEXTS))
def context(request: pytest.FixtureRequest) -> TaskContext:
    made: TaskContext = request.param()
    return made


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ((2**31,), "progress.current"),
        ((-1,), "progress.current"),
        ((1.5,), "progress.current"),
        ((True,), "progress.current"),
        (("1",), "progress.current"),
        ((1, 0), "progress.total"),
        ((1, 2**31), "progress.total"),
        ((1, 2, b"half"), "progress.message"),
    ],
)
def test_progress_refuses_at_the_call_what_no_row_can_hold(
    context: TaskContext, arguments: tuple[Any, ...], field: str
) -> None:
    with pytest.raises(InvalidFields) as refused:
        context.progress(*arguments)
    assert [problem.field for problem in refused.value.problems] == [field]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"delay": 5}, "submit.delay"),
        ({"delay": timedelta(days=3_000_000)}, "submit.delay"),
        ({"delay": timedelta(seconds=-1)}, "submit.delay"),
        ({"key": 7}, "submit.key"),
        ({"key": ""}, "submit.key"),
        ({"key": "a\0b"}, "submit.key"),
        ({"key": "k" * 12_000}, "submit.key"),
        ({"priority": 10}, "submit.priority"),
        ({"priority": True}, "submit.priority"),
        ({"params": Seconds(seconds=1)}, "submit.params"),
        ({"contract": "sample.instant"}, "submit.contract"),
    ],
    ids=str,
)
@pytest.mark.parametrize("at_once", [False, True])
def test_submit_refuses_at_the_call_what_could_not_be_stored_later(
    context: TaskContext, options: dict[str, Any], field: str, at_once: bool
) -> None:
    given: dict[str, Any] = {"contract": INSTANT, "params": Nothing(), "at_once": at_once} | options
    with pytest.raises(InvalidFields) as refused:
        context.submit(**given)
    assert [problem.field for problem in refused.value.problems] == [field]


@pytest.mark.parametrize(
    ("flow", "options", "field"),
    [
        (INSTANT, {}, "start.flow"),
        (None, {}, "start.flow"),
        (Workflow("stolen", owner=8), {}, "start.flow"),
        (begun(), {"key": ""}, "start.key"),
        (begun(), {"key": 7}, "start.key"),
        (begun(), {"key": "k" * 256}, "start.key"),
        (Workflow("Bad Name"), {}, "name"),
    ],
    ids=["contract", "none", "owner", "empty", "number", "long", "rule"],
)
async def test_start_refuses_at_the_call_what_could_not_be_stored(
    context: TaskContext, flow: Any, options: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidFields) as refused:
        await context.start(flow, **options)
    assert field in [problem.field for problem in refused.value.problems]


async def test_a_test_sees_what_a_body_began() -> None:
    run = await run_inline(begin, Begins(flows=2))
    assert [started.flow.name for started in run.started] == ["begun", "begun"]
    plain = await run_inline(begin_plainly, Begins())
    assert [started.key for started in plain.started] == ["the one"] * 2


#: The earliest time that a UUIDv7 can contain. It has no time zone, because hypothesis requires
#: that.
EPOCH = datetime.fromtimestamp(0, UTC).replace(tzinfo=None)
ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.timedeltas()
)


@given(current=ANYTHING, total=ANYTHING, message=ANYTHING)
def test_progress_is_refused_or_fits_its_columns(current: Any, total: Any, message: Any) -> None:
    running = Running.of(FAIL)
    try:
        running.context.progress(current, total, message)
    except InvalidFields:
        return
    (entry,) = running.inbox.take().entries
    assert entry.row is not None
    assert 0 <= (entry.row.progress_current or 0) <= MAX_PROGRESS
    assert 0 < (entry.row.progress_total or 100) <= MAX_PROGRESS
    assert "\0" not in (entry.row.progress_message or "").encode().decode()


@given(key=ANYTHING, delay=ANYTHING, priority=ANYTHING, at_once=st.booleans())
def test_a_child_is_refused_or_can_be_stored(key: Any, delay: Any, priority: Any, at_once: bool) -> None:
    running = Running.of(FAIL)
    try:
        running.context.submit(INSTANT, Nothing(), key=key, delay=delay, priority=priority, at_once=at_once)
    except InvalidFields:
        return
    entries = running.inbox.take().entries
    (child,) = [child for entry in entries for child in entry.spawned] or running.attempt.children
    assert child.delay is None or timedelta(0) <= child.delay <= MAX_DELAY
    assert 0 <= child.priority <= 9
    assert len((child.key or "").encode()) < 2_700, "larger than an index entry may be"


def test_one_child_more_than_an_attempt_may_have_is_refused(context: TaskContext) -> None:
    for _ in range(MAX_CHILDREN):
        context.submit(INSTANT, Nothing())
    with pytest.raises(InvalidFields, match=f"one attempt may submit {MAX_CHILDREN} children"):
        context.submit(INSTANT, Nothing())


@given(parent_at=st.datetimes(EPOCH, timezones=st.just(UTC)), key=st.text())
def test_the_id_of_a_child_follows_from_its_parent_and_its_key(parent_at: datetime, key: str) -> None:
    parent = uuid7(parent_at)
    child = child_id(parent, key)
    assert child == child_id(parent, key)
    assert child != child_id(parent, f"{key}2")
    assert child != child_id(UUID(int=parent.int ^ 1), key)
    assert (child.version, child.variant) == (7, parent.variant)
    # A child's id contains the same millisecond as its parent's, so both are in the same partition.
    start = first_uuid7(parent_at)
    assert start <= child < UUID(int=start.int + (1 << 80))


def test_a_line_whose_arguments_do_not_fit_is_reported_and_raises_nothing(
    context: TaskContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Remove the logging handlers, because those of pytest would raise the error.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with redirect_stderr(StringIO()) as reported:
        context.log.info("%d tasks", "x")
    assert "TypeError" in reported.getvalue()


@pytest.fixture
def loud() -> Iterator[None]:
    """Make this process log from level INFO on, as a worker does."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.INFO)
    yield
    root.setLevel(before)


@pytest.mark.usefixtures("loud")
def test_debug_lines_are_kept_with_the_attempt() -> None:
    running = Running.of(FAIL)
    running.context.log.debug("look closely")
    (entry,) = running.inbox.take().entries
    assert [(line.level, line.message) for line in entry.logs] == [("debug", "look closely")]


@pytest.mark.usefixtures("loud")
def test_fields_of_a_line_are_kept_and_the_process_also_logs_those_of_the_attempt(
    caplog: pytest.LogCaptureFixture,
) -> None:
    running = Running.of(FAIL)
    running.context.log.info("not scanned", extra={"destination_id": 5})
    (entry,) = running.inbox.take().entries
    assert [line.message for line in entry.logs] == ["not scanned destination_id=5"]
    (record,) = caplog.records
    fields = {"destination_id": 5, **running.attempt.fields}
    assert fields.items() <= vars(record).items()
    assert fields["task_id"] == str(running.attempt.id)


def test_no_more_than_a_bounded_number_of_lines_is_kept() -> None:
    running = Running.of(FAIL)
    for number in range(MAX_LOG_LINES + 10):
        running.context.log.debug("line %d", number)
    (entry,) = running.inbox.take().entries
    assert len(entry.logs) == MAX_LOG_LINES
    assert entry.logs[-1].message.startswith(f"more than {MAX_LOG_LINES} lines")


def test_raise_if_cancelled_raises_only_then(context: TaskContext) -> None:
    context.raise_if_cancelled()
    running = Running.of(FAIL)
    running.attempt.cancel_requested = True
    with pytest.raises(Cancelled):
        running.context.raise_if_cancelled()


def test_the_context_of_an_ended_attempt_warns_once_and_writes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    running = Running.of(FAIL)
    running.ended()
    context = running.context
    context.progress(1, 2)
    context.log.info("still here")
    context.submit(INSTANT, Nothing())
    context.submit(INSTANT, Nothing(), at_once=True)
    assert not running.inbox.take().entries
    assert not running.attempt.children
    warnings = [r for r in caplog.records if "left running still uses its context" in r.getMessage()]
    assert len(warnings) == 1


@pytest.mark.parametrize("work", [None, 5, "text", uuid4], ids=["none", "number", "text", "function"])
def test_wait_for_refuses_what_is_no_coroutine(context: TaskContext, work: Any) -> None:
    with pytest.raises(InvalidFields, match=r"wait_for\.work: must be a coroutine"):
        context.wait_for(work)


async def test_an_async_body_is_told_to_await_in_a_test_as_in_a_worker() -> None:
    with pytest.raises(RuntimeError, match="in an async task body, await"):
        await run_inline(wait_in_loop, Nothing())
