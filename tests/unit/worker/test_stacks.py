"""Tests of reading the stack of a body that may end at any moment."""

import threading
from concurrent.futures import ThreadPoolExecutor, wait

from services.worker.running import stacks, time_limits
from tests.unit.worker.test_claims import held


def test_a_body_that_ends_meanwhile_shows_nothing_of_the_next_one_in_its_thread() -> None:
    attempt = held()
    attempt.thread = threading.get_ident()
    with ThreadPoolExecutor(2) as pool:
        with attempt.slot:  # the body's thread holds this lock while the body is ending
            of_body = pool.submit(stacks.of_body, attempt)
            as_text = pool.submit(time_limits._stack_of, attempt)
            assert not wait([of_body], timeout=0.1).done
            assert not wait([as_text], timeout=0.1).done
            attempt.thread = None
        (shown, *_), text = of_body.result(5), as_text.result(5)
    assert (shown.frames, text) == ([], "unknown")


def test_a_running_body_shows_its_frames_outermost_first() -> None:
    attempt = held()
    attempt.thread = threading.get_ident()
    frames = stacks.of_body(attempt)[0].frames
    names = [frame.function for frame in frames]
    here = names.index("test_a_running_body_shows_its_frames_outermost_first")
    assert names[here + 1] == "of_body"
    assert "stacks.of_body(attempt)" in frames[here].code
    text = time_limits._stack_of(attempt)
    assert text.index("test_a_running_body_shows") < text.index("in _stack_of")
