"""Tests of the log line that a worker writes when it could not push the first tasks of a
workflow.
"""

import logging
from concurrent.futures import Future

import pytest

from services.worker.workflows import starts


def test_a_push_that_did_not_happen_leaves_one_line(caplog: pytest.LogCaptureFixture) -> None:
    canceled, failed, done = (Future[None]() for _ in range(3))
    canceled.cancel()
    failed.set_exception(OSError("Redis is away"))
    done.set_result(None)
    with caplog.at_level(logging.INFO):
        for sending in (canceled, failed, done):
            starts._report(sending)
    assert [(record.levelname, "dispatcher sends" in record.message) for record in caplog.records] == [
        ("INFO", True),
        ("WARNING", True),
    ]
