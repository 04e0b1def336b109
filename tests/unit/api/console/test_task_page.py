"""Tests of the console's page of a task: its timeline, its tracebacks, and the form that
edits it.
"""

import functools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.console import diff, schema_form, task_form, timeline, traceback
from services.api.tasks.schemas import AttemptAnswer, TaskAnswer
from shared.errors import InvalidFields

CREATED = datetime(2026, 11, 30, 12, tzinfo=UTC)

TRACEBACK = """Traceback (most recent call last):
  File "/srv/.venv/lib/python3.11/site-packages/aiosmtplib/api.py", line 131, in send
    result = await client.sendmail(
             ^^^^^^^^^^^^^^^^^^^^^^
aiosmtplib.errors.SMTPRecipientsRefused: refused

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/srv/services/worker/running/executor.py", line 44, in __call__
    returned = self._run(attempt)
  File "/srv/services/worker/tasks/email.py", line 61, in send
    raise MailRejected(address) from error
services.worker.gateways.MailRejected: two
  lines
"""


def _task(status: str = "success", **more: Any) -> TaskAnswer:
    fields: dict[str, Any] = dict.fromkeys(TaskAnswer.__struct_fields__)
    values = {"created_at": CREATED, "status": status, "queue": "email", "priority": 5, "params": {"a": 1}}
    return TaskAnswer(**fields | values | more)


def _attempt(number: int, begin_s: float, end_s: float | None, outcome: str | None) -> AttemptAnswer:
    fields: dict[str, Any] = dict.fromkeys(AttemptAnswer.__struct_fields__)
    times = {
        "started_at": CREATED + timedelta(seconds=begin_s),
        "ended_at": None if end_s is None else CREATED + timedelta(seconds=end_s),
    }
    return AttemptAnswer(**fields | times | {"attempt": number, "outcome": outcome, "logs": []})


def test_a_timeline_shows_waits_and_runs() -> None:
    attempts = [_attempt(1, 10, 20, "retry"), _attempt(2, 50, 100, "success")]
    pieces = timeline.draw(_task(), attempts, CREATED + timedelta(hours=1))
    assert [(each.kind, each.tone, each.label, each.title) for each in pieces] == [
        ("wait", "idle", "", "waited 10 s"),
        ("run", "warn", "1", "attempt 1 retrying 10 s"),
        ("wait", "idle", "", "waited 30 s"),
        ("run", "good", "2", "attempt 2 succeeded 50 s"),
    ]
    assert [each.width for each in pieces] == [11.5, 11.5, 29.5, 47.5]


def test_a_running_attempt_reaches_until_now_and_a_wait_too() -> None:
    now = CREATED + timedelta(seconds=100)
    running = timeline.draw(_task("started"), [_attempt(1, 50, None, None)], now)
    assert [each.title for each in running] == ["waited 50 s", "attempt 1 running 50 s"]
    assert [each.title for each in timeline.draw(_task("pending"), [], now)] == ["waits 1 min 40 s"]


@given(st.lists(st.floats(0, 1e6), max_size=40))
def test_a_timeline_fills_its_width_and_hides_nothing(lengths: list[float]) -> None:
    at, attempts = 0.0, []
    for number, length in enumerate(lengths):
        attempts.append(_attempt(number + 1, at + length, at + 2 * length, "retry"))
        at += 2 * length
    pieces = timeline.draw(_task("retry"), attempts, CREATED + timedelta(seconds=at + 60))
    assert sum(each.width for each in pieces) == pytest.approx(100, abs=0.1)
    assert all(each.width >= timeline.NARROWEST - 0.001 for each in pieces)


def test_a_traceback_shows_our_frames_and_folds_the_others() -> None:
    raised, cause = traceback.read(TRACEBACK)
    assert raised.message == "services.worker.gateways.MailRejected: two\n  lines"
    assert [(group.is_ours, len(group.frames)) for group in raised.groups] == [(False, 1), (True, 1)]
    assert raised.groups[1].frames[0].code == "raise MailRejected(address) from error"
    assert (cause.frames[0].place, cause.frames[0].is_ours) == ("aiosmtplib/api.py", False)
    assert traceback.place(TRACEBACK) == "services/worker/tasks/email.py:61 send"


@given(st.text())
def test_any_text_can_be_read_as_a_traceback(text: str) -> None:
    assert isinstance(traceback.read(text), list)
    assert isinstance(traceback.read(f"Traceback (most recent call last):\n{text}"), list)


def test_an_edit_is_what_differs_from_the_task() -> None:
    form = {"params": '{"a": 2}', "queue": "email", "priority": "9", "delay_s": "", "reason": " why "}
    body = task_form.read(form, _task())
    assert (body.params, body.queue, body.priority, body.delay_s, body.reason) == (
        {"a": 2},
        None,
        9,
        None,
        "why",
    )
    changes = diff.lines(
        task_form.edited(_task(), task_form.read({"params": '{"a": 1}'}, _task())),
        task_form.edited(_task(), body),
    )
    assert [line.text.strip() for line in changes if line.sign == "+"] == ['"priority": 9,', '"a": 2']


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"params": "{"}, "params"),
        ({"params": "[]"}, "params"),
        ({"params": "{}", "priority": "x"}, "priority"),
        ({"params": "{}", "priority": "10"}, "priority"),
    ],
)
def test_an_edit_that_cannot_be_read_names_the_field(form: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidFields) as caught:
        task_form.read(form, _task())
    assert list(task_form.by_field(caught.value.problems)) == [field]


SCHEMA = {
    "$ref": "#/$defs/Send",
    "$defs": {
        "Send": {
            "properties": {
                "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
                "to": {"type": "string", "x-sensitive": True},
                "count": {"type": "integer", "minimum": 1, "maximum": 2**63 - 1, "default": 3},
                "mode": {"$ref": "#/$defs/Mode"},
                "loud": {"type": "boolean", "default": False},
                "parts": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["to", "mode", "parts"],
        },
        "Mode": {"enum": ["now", "later"]},
    },
}


def test_a_form_follows_the_schema() -> None:
    fields = schema_form.fields(SCHEMA)
    assert [(each.name, each.kind, each.required) for each in fields] == [
        ("to", "text", True),
        ("mode", "choice", True),
        ("parts", "json", True),
        ("note", "text", False),
        ("count", "number", False),
        ("loud", "boolean", False),
    ]
    assert (fields[4].hint, fields[0].is_sensitive) == ("1 or more, 3 if left empty", True)
    sent = {"p.to": "7", "p.mode": "now", "p.parts": '["a"]', "p.count": "2", "p.loud": "true", "p.note": ""}
    read = functools.partial(schema_form.params, wanted=fields)
    assert read(sent) == {"to": "7", "mode": "now", "parts": ["a"], "count": 2, "loud": True}
    with pytest.raises(InvalidFields, match="must be JSON"):
        read({**sent, "p.parts": "a"})
