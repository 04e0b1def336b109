"""Tests of the console's form for a bulk operation: its request, the words that describe it, and
its progress.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from services.api.bulk.schemas import BulkAnswer
from services.api.console import bulk_form, bulk_progress

NOW = datetime(2026, 11, 30, 12, 0, 0, 500, tzinfo=UTC)
GIVEN = [
    ("status", "failure"),
    ("status", "revoked"),
    ("name", "email.send"),
    ("since", "24h"),
    ("params.user_id", "7"),
    ("error", "refused"),
]


def act(**changes: Any) -> BulkAnswer:
    values: dict[str, Any] = {
        "id": UUID(int=1), "task_id": UUID(int=2), "kind": "task", "action": "retry", "filter": {},
        "changes": None, "actor": 1, "reason": None, "rate": None, "state": "running", "expected": 300,
        "exact": True, "done": 90, "skipped": 7, "refused": 3, "refusals": {}, "until": NOW, "reached": NOW,
        "created_at": NOW - timedelta(seconds=10), "ended_at": None,
    }  # fmt: skip
    return BulkAnswer(**values | changes)


def test_a_relative_time_becomes_the_one_that_was_previewed() -> None:
    asked = bulk_form.read([*GIVEN, ("action", "retry"), ("token", "form"), ("rate", " 50 ")], NOW)
    assert asked.body is not None
    assert (asked.body.filter.created_after, asked.body.rate) == ("2026-11-29T12:00:00Z", 50)
    assert ("since", "24h") not in asked.filters
    later = bulk_form.read([*asked.filters, ("action", "retry")], NOW + timedelta(minutes=5))
    assert later.body is not None
    assert later.body.filter == asked.body.filter


def test_a_filter_is_said_in_words_also_when_an_act_has_kept_it() -> None:
    said = (
        "Tasks that are failed or canceled, named email.send, created since 2026-11-29 12:00:00 UTC, "
        'whose error contains "refused", whose parameter user_id is 7'
    )
    asked = bulk_form.read(GIVEN, NOW)
    assert bulk_form.in_words(asked.filters) == said
    kept = {"status": ["failure", "revoked"], "owner": 7, "params": {"user_id": "7", "n": 3}}
    assert bulk_form.in_words(bulk_form.pairs(kept), "workflow") == (
        "Workflows that are failed or canceled, of account 7, whose parameter n is 3, "
        "whose parameter user_id is 7"
    )


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ([("status", "lost"), ("action", "retry")], ["status"]),
        ([("name", "a.b"), ("action", "drop")], ["action"]),
        ([("name", "a.b"), ("action", "change"), ("to_priority", "12")], ["changes.priority"]),
        ([("name", "a.b"), ("action", "change")], []),
        ([("name", "a.b")], []),
    ],
)
def test_what_breaks_a_rule_or_lacks_a_part_asks_for_nothing(
    given: list[tuple[str, str]], fields: list[str]
) -> None:
    asked = bulk_form.read(given, NOW)
    assert (asked.body, [problem.field for problem in asked.problems]) == (None, fields)


@pytest.mark.parametrize("rate", ["0", "fast", "10001"])
def test_a_rate_that_breaks_its_rule_is_named_beside_the_preview(rate: str) -> None:
    asked = bulk_form.read([("name", "a.b"), ("action", "retry"), ("rate", rate)], NOW)
    assert [(each.field, each.rule) for each in asked.problems] == [
        ("rate", "must be a whole number from 1 to 10,000, or empty")
    ]
    assert asked.body is not None
    assert asked.body.rate is None


def test_the_queue_of_the_filter_is_not_the_one_that_tasks_move_to() -> None:
    asked = bulk_form.read([("queue", "slow"), ("action", "change"), ("to_queue", "fast")], NOW)
    assert asked.body is not None
    assert asked.body.changes is not None
    assert (asked.body.filter.queue, asked.body.changes.queue) == (["slow"], "fast")
    assert bulk_form.change_in_words({"priority": None, "queue": "fast"}) == "queue fast"


@pytest.mark.parametrize(
    ("changes", "percent", "left_s"),
    [
        ({}, 33, 20.0),
        ({"rate": 100}, 33, 2.0),
        ({"state": "waiting"}, 33, None),
        ({"exact": False}, None, None),
        ({"done": 500}, 99, 0.0),
        ({"done": 0, "skipped": 0, "refused": 0}, 0, None),
        ({"state": "completed", "exact": False}, 100, None),
    ],
)
def test_progress_says_only_what_is_known(
    changes: dict[str, Any], percent: int | None, left_s: float | None
) -> None:
    found = bulk_progress.of(act(**changes), NOW)
    assert (found.percent, found.left_s) == (percent, left_s)
