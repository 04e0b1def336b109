"""Tests of when the launcher reports a process that is alive but does not work."""

import pytest

from local.watch import PATIENCE_S, START_PATIENCE_S, Complaints

PID = 4_711
TROUBLE = "http://127.0.0.1:9100/health/live answers 503"


@pytest.fixture
def complaints() -> Complaints:
    """The launcher's record of reports about a worker that has worked since its start."""
    complaints = Complaints()
    assert complaints.note("worker-1", PID, None, 0) is None
    return complaints


def test_a_lasting_problem_is_reported_once_and_so_is_its_end(complaints: Complaints) -> None:
    lines = [complaints.note("worker-1", PID, TROUBLE, now) for now in (1, PATIENCE_S, 1 + PATIENCE_S, 99)]
    end = [complaints.note("worker-1", PID, None, now) for now in (100, 101)]

    assert lines[:2] == [None, None]
    assert lines[2] is not None
    assert lines[2].startswith(f"worker-1 is alive but does not work: {TROUBLE}")
    assert lines[3] is None
    assert end == ["worker-1 works again.", None]


def test_a_brief_problem_is_not_reported(complaints: Complaints) -> None:
    noted = [(1, TROUBLE), (PATIENCE_S, None), (PATIENCE_S + 2, TROUBLE), (2 * PATIENCE_S, TROUBLE)]

    assert [complaints.note("worker-1", PID, trouble, now) for now, trouble in noted] == [None] * 4


def test_a_process_that_has_just_started_gets_more_time(complaints: Complaints) -> None:
    begin, late = 1, 1 + START_PATIENCE_S
    lines = [complaints.note("worker-1", PID + 1, TROUBLE, now) for now in (begin, late - 1, late)]

    assert [line is not None for line in lines] == [False, False, True]
