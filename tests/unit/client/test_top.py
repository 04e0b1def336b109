"""Tests of the state of `often top`, its keys, and how it is drawn."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from rich.console import Console

from often_client.answers import (
    Count,
    Queue,
    RunningTask,
    Series,
    SystemHealth,
    TaskState,
    Trouble,
    Waits,
    Worker,
)
from often_client.cli import output
from often_client.cli.board import MAX_FAILED, RATE_S, Board, Facts, Failed, Running
from often_client.cli.keyboard import BACKSPACE, ENTER, ESCAPE
from often_client.cli.top_page import page
from often_client.cli.view import Act, Quit, View

ONE, TWO = UUID(int=1), UUID(int=2)
NOW = datetime(2026, 11, 30, 8, tzinfo=UTC)


def running(task_id: UUID, running_s: float, *, attempt: int = 1) -> RunningTask:
    return RunningTask(
        task_id=task_id,
        task_name="hotels.scan",
        queue="hotel_tracking",
        attempt=attempt,
        started_at=NOW,
        running_s=running_s,
        progress_current=1,
        progress_total=4,
        progress_message="page 1",
    )


def facts(*tasks: RunningTask) -> Facts:
    worker = Worker(
        id=UUID(int=9),
        hostname="host-with-a-long-name.example",
        pid=4321,
        release="0.2.0",
        state="running",
        asked=None,
        queues=["default"],
        threads=4,
        threads_busy=len(tasks),
        held=len(tasks),
        memory_bytes=1,
        started_at=NOW,
        heartbeat_at=NOW,
        ended_at=None,
        running=[*tasks],
    )
    queue = Queue(
        queue="hotel_tracking",
        waiting=12_345,
        depth={},
        oldest_age_s=40.0,
        due_later=3,
        paused=None,
        may_pause=True,
        workers=1,
    )
    trouble = Trouble(
        code="queue-slow",
        severity="warning",
        sentence="The queue hotel_tracking is slow: its oldest task has waited for 40 s.",
        target=None,
        since=None,
        remedy="Start another worker.",
        link=None,
        runbook=None,
    )
    some = Count(1, True)
    return Facts(
        SystemHealth(checked_at=NOW, verdict="warning", problems=[trouble], servers={}, unknown=[]),
        [queue],
        [worker],
        Series(NOW, 60, []),
        Waits(NOW, some, some, some, [], []),
    )


def changed(task_id: UUID, status: str, *, progress: int = 1) -> TaskState:
    return TaskState(
        task_id=task_id,
        revision=1,
        status=status,
        task_name="hotels.scan",
        queue="hotel_tracking",
        owner=7,
        progress_current=progress,
        progress_total=4,
        progress_percentage=25 * progress,
        progress_message="page",
        workflow=None,
        step=None,
    )


def ids(board: Board) -> list[UUID]:
    return [each.task_id for each in board.running()]


def test_a_change_that_arrives_during_a_reading_is_newer_than_what_was_read() -> None:
    board = Board(facts())
    board.change(changed(ONE, "started"), 99.0)
    board.change(changed(ONE, "success"), 101.0)
    board.change(changed(TWO, "started"), 102.0)
    # These facts were read at time 100, before the two changes above: ONE was still running, and
    # TWO was not.
    board.read(facts(running(ONE, 5.0)), 100.0)
    assert ids(board) == [TWO]
    board.read(facts(running(TWO, 3.0, attempt=2)), 105.0)
    assert [(each.attempt, each.began_at) for each in board.running()] == [(2, 102.0)]


def test_a_reading_repairs_what_the_stream_left_out() -> None:
    board = Board(facts())
    board.change(changed(ONE, "started"), 10.0)
    board.read(facts(running(TWO, 1.0)), 20.0)
    assert ids(board) == [TWO]


def test_a_progress_keeps_the_beginning_and_a_task_may_run_again() -> None:
    board = Board(facts())
    board.read(facts(running(ONE, 30.0)), 100.0)
    board.change(changed(ONE, "started", progress=3), 101.0)
    (task,) = board.running()
    assert (task.began_at, task.progress, task.attempt) == (70.0, 75, 1)
    board.change(changed(ONE, "retry"), 102.0)
    assert ids(board) == []
    board.change(changed(ONE, "started"), 103.0)
    board.read(facts(running(ONE, 0.5, attempt=2)), 103.5)
    assert [each.attempt for each in board.running()] == [2]


def test_ended_tasks_are_counted_for_a_while_and_failed_ones_are_kept() -> None:
    board = Board(facts())
    for number in range(10):
        board.change(changed(UUID(int=number), "failure"), float(number))
    assert board.ended_per_s(9.0) == 10 / RATE_S
    assert board.ended_per_s(9.0 + RATE_S) == 1 / RATE_S
    assert [each.task_id.int for each in board.failed] == [9, 8, 7, 6, 5][:MAX_FAILED]
    board.change(changed(UUID(int=7), "pending"), 11.0)
    assert [each.task_id.int for each in board.failed] == [9, 8, 6, 5]


def test_keys_filter_select_ask_and_quit() -> None:
    rows: list[Running | Failed] = [
        Running(ONE, "a.run", "q", 0.0, 0, 1, None),
        Failed(TWO, "a.fail", "q", 0.0),
    ]
    view = View()

    def press(*pressed: str) -> list[object]:
        return [wish for key in pressed if (wish := view.press(key, rows)) is not None]

    assert press("/", "q", "x", BACKSPACE, ENTER, "c") == []
    assert (view.text, view.message) == ("q", "Select a running task with j and k first.")
    assert (view.shows("a.run", "q"), view.shows("a.run", "other")) == (True, False)
    assert press("j", "r", "c", "n") == []
    assert press("c", "y") == [Act("cancel", ONE, "a.run")]
    assert press("j", "c", "r", "y") == [Act("retry", TWO, "a.fail")]
    assert press("j", "k", "k", "p") == []
    assert (view.selected, view.is_frozen) == (ONE, True)
    assert press(ESCAPE, "q") == [Quit()]
    assert (view.text, view.selected) == ("", None)


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_the_view_fits_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    board = Board(facts(), is_live=True, reading_trouble="These facts are old. \x1b[2J")
    board.read(facts(running(ONE, 5.0)), 100.0)
    board.change(changed(TWO, "failure"), 101.0)
    view = View(selected=ONE)
    rows: list[Running | Failed] = [*board.running(), *board.failed]
    screen = Console(width=width, height=100, record=True, markup=False, highlight=False, file=None)
    with screen.capture() as captured:
        screen.print(page(board, view, rows, 110.0))
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= width
    assert "\x1b" not in captured.get()
    assert output.console().width == width
    named = [line for line in lines if "hotels.scan"[: width // 2] in line]
    assert len(named) == 2
    assert named[0].startswith("▸ ")
    if width >= 40:
        assert "15 s" in named[0]
    if width >= 80:
        assert "25%" in named[0]


def test_the_key_and_the_status_of_a_frozen_view_have_the_same_word() -> None:
    screen = Console(width=120, height=100, markup=False, highlight=False, file=None)
    with screen.capture() as captured:
        screen.print(page(Board(facts()), View(is_frozen=True), [], 0.0))
    (line,) = [line for line in captured.get().splitlines() if "q quit" in line]
    assert "p freeze" in line
    assert line.rstrip().endswith("· frozen")
