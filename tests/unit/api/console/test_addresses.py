"""Tests of addresses in the console: to which page a form leads back, the query of a list, and
where "Go to" leads.
"""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from services.api.console import addresses, go, task_filter
from shared.ledger.lifecycle import Status

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
TASK = "01a22c6a-e568-7c82-a6f2-92d636bea434"


@pytest.mark.parametrize("path", ["/console", "/console/tasks?status=failure", "/console?x=1"])
def test_a_form_leads_back_to_a_page_of_the_console(path: str) -> None:
    assert addresses.local(path) == path


@pytest.mark.parametrize(
    "path",
    [
        None,
        "",
        "//evil.example",
        "https://evil.example/console",
        "/consolex",
        "/console/\\evil",
        "/console/\n",
    ],
)
def test_a_form_leads_nowhere_else(path: str | None) -> None:
    assert addresses.local(path) == "/console"


def test_a_change_of_the_address_keeps_the_rest() -> None:
    given = [("status", "failure"), ("status", "retry"), ("params.a", "x y"), ("cursor", "abc")]
    changed = addresses.changed("/console/tasks", given, status="success", cursor=None)
    assert changed == "/console/tasks?params.a=x%20y&status=success"


def test_filters_are_read_as_those_of_the_api() -> None:
    asked = task_filter.read(
        [("status", "failure"), ("name", "a.b"), ("owner", "7"), ("since", "24h"), ("params.user_id", "7")],
        NOW,
    )
    assert asked.problems == ()
    assert asked.wanted.status == [Status.FAILURE]
    assert asked.wanted.created_after == NOW - timedelta(hours=24)
    assert asked.wanted.params == {"params.user_id": ('{"user_id": "7"}', '{"user_id": 7}')}


def test_what_cannot_be_read_is_named() -> None:
    asked = task_filter.read(
        [("status", "lost"), ("parent", "x"), ("created_after", "now"), ("colour", "red")], NOW
    )
    assert [each.field for each in asked.problems] == ["status", "parent", "created_after", "colour"]


@pytest.mark.parametrize(
    ("given", "tidy"),
    [
        ([("status", "failure")], None),
        ([("name", ""), ("queue", "email")], [("queue", "email")]),
        ([("params", "user_id=7")], [("params.user_id", "7")]),
        ([("params.user_id", "8"), ("params", " user_id = 7 ")], [("params.user_id", "7")]),
        ([("params", "nothing")], []),
    ],
)
def test_an_address_has_no_empty_fields(given: task_filter.Given, tidy: task_filter.Given | None) -> None:
    assert task_filter.canonical(given) == tidy


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("tasks", "/console/tasks"),
        (TASK, f"/console/tasks/{TASK}"),
        (UUID(TASK).hex, f"/console/tasks/{TASK}"),
        ("email", "/console/tasks?queue=email"),
        ("email.send_welcome", "/console/tasks?name=email.send_welcome"),
        ("card & co", "/console/tasks?error=card%20%26%20co"),
        ("", "/console/tasks"),
    ],
)
def test_go_to_knows_pages_ids_queues_and_names(text: str, path: str) -> None:
    assert go.target(text, [("/console/tasks", "Tasks")], ["email"]) == path
