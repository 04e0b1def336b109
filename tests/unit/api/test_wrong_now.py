"""Tests of how the health report judges facts about the system: their text, their severity, and
which facts are no problem.
"""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from services.api.operations import wrong_now
from services.api.operations.health_facts import Facts
from services.api.operations.schemas import Pause, QueueAnswer
from shared.schedules.firing_record import Record

NOW = datetime(2026, 11, 30, 3, 0, tzinfo=UTC)
UP = {"postgres": "ok", "redis": "ok"}
HEADINGS = {
    heading.lower().replace(" ", "-")
    for heading in re.findall("^### (.+)$", Path("docs/operations.md").read_text(), re.MULTILINE)
}


def queue(**changes: Any) -> QueueAnswer:
    values: dict[str, Any] = {
        "queue": "email", "waiting": 0, "depth": {}, "oldest_age_s": 0.0, "due_later": 0, "paused": None,
        "may_pause": True, "workers": 1,
    }  # fmt: skip
    return QueueAnswer(**values | changes)


def worker(**changes: Any) -> dict[str, Any]:
    values = {"id": 1, "hostname": "w", "pid": 7, "queues": ["email"], "dead_at": None, "silent_s": 0.4}
    return values | changes


def kind(**changes: int) -> dict[str, Any]:
    counts = {"success": 0, "failure": 0, "success_rare": 0, "failure_rare": 0}
    return {"queue": "email", "name": "email.send"} | counts | changes


def error(state: str = "open") -> dict[str, Any]:
    cause = {"type": "aiosmtplib.errors.Refused", "place": "services.worker.email:send"}
    return {
        "fingerprint": "v2:a",
        "name": "email.send",
        "state": state,
        "first_at": NOW,
        "last_at": NOW,
    } | cause


def act(idle_s: float) -> dict[str, Any]:
    return {"id": UUID(int=1), "action": "run_now", "not_before": NOW, "idle_s": idle_s}


def facts(**changes: Any) -> Facts:
    values: dict[str, Any] = {"servers": UP, "leaderless_s": -2.0, "days_ahead": 7}
    return Facts(NOW, **values | changes)


POSTGRES = {"connections": 10, "connections_limit": 100, "oldest_transaction_s": 1.0, "size_bytes": 1}
CASES: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
    ({}, []),
    ({"servers": UP | {"redis": "away: refused"}}, [("redis-unavailable", "critical")]),
    ({"servers": UP | {"postgres": "away: refused"}, "leaderless_s": None, "days_ahead": None},
     [("postgres-unavailable", "critical")]),
    ({"leaderless_s": 11.0}, [("no-leader", "critical")]),
    ({"leaderless_s": None}, [("no-leader", "critical")]),
    ({"leaderless_s": None, "unknown": ["leader"]}, []),
    ({"postgres": POSTGRES | {"connections": 79}}, []),
    ({"postgres": POSTGRES | {"connections": 80}}, [("connections-scarce", "warning")]),
    ({"postgres": POSTGRES | {"connections": 95}}, [("connections-scarce", "critical")]),
    ({"postgres": POSTGRES | {"oldest_transaction_s": 601.0}}, [("transaction-old", "warning")]),
    ({"redis": {"memory_bytes": 99, "memory_limit_bytes": 0}}, []),
    ({"redis": {"memory_bytes": 96, "memory_limit_bytes": 100}}, [("redis-memory-scarce", "critical")]),
    ({"queues": [queue(waiting=3, workers=0)]}, [("queue-unserved", "critical")]),
    ({"queues": [queue(waiting=3, oldest_age_s=61.0)]}, [("queue-slow", "warning")]),
    ({"queues": [queue(waiting=3, oldest_age_s=59.0)]}, []),
    ({"queues": [queue(waiting=3, workers=0, paused=Pause(NOW - timedelta(minutes=5), 1, "outage"))]},
     [("queue-paused", "notice")]),
    ({"queues": [queue(paused=Pause(NOW - timedelta(hours=2), 1, "outage"))]}, [("queue-paused", "warning")]),
    ({"workers": [worker(silent_s=6.0)]}, [("worker-silent", "warning")]),
    ({"workers": [worker(silent_s=60.0, dead_at=NOW)]}, [("workers-died", "warning")]),
    ({"kinds": [kind(success=16, failure=4)]}, []),
    ({"kinds": [kind(success=20, failure=5)]}, [("kind-fails", "warning")]),
    ({"kinds": [kind(success=20, failure=41)]}, [("kind-fails", "critical")]),
    ({"kinds": [kind(failure=1, failure_rare=1)]}, []),
    ({"kinds": [kind(failure_rare=2)]}, [("kind-fails", "warning")]),
    ({"kinds": [kind(success_rare=1, failure_rare=2)]}, []),
    ({"crash_loops": [{"name": "scan", "n": 2, "last_at": NOW}]}, [("crash-loop", "critical")]),
    ({"errors": [error(state="regressed")]}, [("error-regressed", "warning")]),
    ({"errors": [error(state="regressed")] * 20}, [("error-regressed", "warning")] * 10),
    ({"errors": [error()]}, []),
    ({"errors": [error()], "kinds": [kind(failure_rare=1)]}, []),
    ({"errors": [error()] * 9, "kinds": [kind(success_rare=1)]}, [("error-new", "notice")]),
    ({"errors": [error()], "kinds": [kind(success_rare=1)]}, [("error-new", "notice")]),
    ({"bulk_acts": [act(idle_s=299.0)]}, []),
    ({"bulk_acts": [act(idle_s=301.0)]}, [("bulk-stuck", "warning")]),
    ({"workflow_event_s": 6.0}, [("workflows-stuck", "critical")]),
    ({"overdue": [{"name": "daily", "overdue_s": 61.0}]}, [("schedule-overdue", "critical")]),
    ({"schedules": {"daily": Record(None, 2), "hourly": Record(None, 1)}}, [("schedule-fails", "warning")]),
    ({"parked": [{"name": "new", "queue": "email", "n": 1, "reason": "no worker knows new yet"}]},
     [("tasks-parked", "warning")]),
    ({"days_ahead": 3}, [("partitions-run-out", "critical")]),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "expected"), CASES)
def test_a_fact_is_judged(changes: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    found = wrong_now.problems(facts(**changes))
    assert [(problem.code, problem.severity) for problem in found] == expected
    for problem in found:
        assert problem.remedy.endswith(".")
        assert problem.runbook is None or problem.runbook in HEADINGS


def test_the_worst_comes_first_and_gives_the_verdict() -> None:
    paused = queue(paused=Pause(NOW, 1, "outage"))
    found = wrong_now.problems(facts(queues=[paused], workers=[worker(silent_s=9.0)], leaderless_s=60.0))
    assert [problem.severity for problem in found] == ["critical", "warning", "notice"]
    assert wrong_now.verdict(found) == "critical"
    assert wrong_now.verdict(found[1:]) == "warning"
    assert wrong_now.verdict(found[2:]) == "ok"


def test_sentences_read_well() -> None:
    paused = queue(paused=Pause(NOW - timedelta(minutes=65), 1, "provider outage"))
    dead = worker(dead_at=NOW)
    names = ["email.send", "b.b", "c.c", "a.a", "a.a"]
    errors = [error(state="regressed"), *({**error(), "name": name} for name in names)]
    found = wrong_now.problems(
        facts(
            queues=[paused],
            workers=[dead, dead],
            errors=errors,
            bulk_acts=[act(idle_s=400.0)],
            kinds=[kind(success_rare=1) | {"name": name} for name in names],
        )
    )
    assert {problem.sentence for problem in found} == {
        "The queue email has been paused for 1 h 5 min: provider outage",
        "email.send fails again with Refused in services.worker.email:send, which was resolved in an older "
        "release",
        "5 new causes of errors within an hour: a.a, b.b, c.c and 1 more",
        "A bulk run now has not moved for 6 min 40 s",
        "2 workers died within 15 minutes, the last one worker w:7 of email",
    }


def test_a_sentence_about_one_thing_is_in_the_singular() -> None:
    found = wrong_now.problems(
        facts(
            queues=[queue(waiting=1, workers=0), queue(waiting=1, oldest_age_s=61.0)],
            workers=[worker(dead_at=NOW)],
            crash_loops=[{"name": "scan", "n": 1, "last_at": NOW}],
            parked=[{"name": "new", "queue": "email", "n": 1, "reason": "no worker knows new yet"}],
            days_ahead=1,
        )
    )
    assert {problem.sentence for problem in found} == {
        "1 task waits in email, and no worker serves this queue",
        "A task in email has waited for 1 min 1 s, with 1 waiting and 1 worker",
        "1 worker died within 15 minutes, the last one worker w:7 of email",
        "scan: 1 task was given up after killing workers repeatedly",
        "1 new waits in email: no worker knows new yet",
        "The ledger has partitions for 1 day ahead, and should have 7",
    }
