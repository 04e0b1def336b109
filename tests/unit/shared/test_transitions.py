"""Tests that all statements that write tasks are in shared/ledger/transitions, and that each one
that ends a task has the shared tail that every ending needs.
"""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.ledger import transitions
from shared.ledger.statement import Statement
from shared.ledger.transitions.ending import Ending
from tests.platform import ROOT

#: Matches a statement that writes the table `task` or its kept partition, but not `task_attempt` or
#: `task_log`.
WRITES_TASK = re.compile(
    r"\b(?:INSERT\s+INTO|UPDATE(?:\s+ONLY)?|DELETE\s+FROM(?:\s+ONLY)?|MERGE\s+INTO|TRUNCATE(?:\s+TABLE)?)"
    r"\s+\"?task(?:_kept)?\b\"?",
    re.IGNORECASE,
)
#: Matches the assignments of an UPDATE of `task`. They end at WHERE, which each of these statements
#: has.
UPDATE = re.compile(r"\bUPDATE task(?: AS t)? SET\b(.*?)\bWHERE\b", re.DOTALL)
#: Matches an assignment that ends a task, or one that clears `completed_at`, which reopens it.
ENDS = re.compile(r"\bcompleted_at = |'(?:success|failure|revoked)'")

#: Statements that reopen tasks without adding a workflow event. Their tasks belong to no workflow,
#: or the retry of their workflow has already subtracted their earlier ends from the step's counts.
WITHOUT_EVENT = {"bulk.RELEASE_MANY", "bulk.RETRY_MANY", "operate.RELEASE", "retry.REPEAT"}

BOOK = {
    f"{module.name}.{name}": value
    for module in pkgutil.iter_modules(transitions.__path__)
    for name, value in vars(importlib.import_module(f"{transitions.__name__}.{module.name}")).items()
    if isinstance(value, Statement)
}


def texts(source: str) -> Iterator[tuple[int, str]]:
    """All string constants in a module's source. A value inside an f-string becomes a space."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else " " for part in node.values]
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def writers(path: Path) -> list[int]:
    """Line numbers of the statements in a file that write `task`."""
    if path.suffix == ".sql":
        return [1] if WRITES_TASK.search(path.read_text()) else []
    return [line for line, text in texts(path.read_text()) if WRITES_TASK.search(text)]


def sources() -> list[Path]:
    found = [path for folder in ("services", "shared") for path in (ROOT / folder).rglob("*")]
    return [path for path in found if path.suffix in (".py", ".sql")]


def test_only_the_transitions_write_tasks() -> None:
    book = ROOT / "shared" / "ledger" / "transitions"
    outside = [path for path in sources() if book not in path.parents and "migrations" not in path.parts]
    found = {f"{path.relative_to(ROOT)}:{line}" for path in outside for line in writers(path)}
    assert found == set()


def test_the_search_finds_the_statements_of_the_transitions() -> None:
    book = {path.stem for path in sources() if path.parent.name == "transitions" and writers(path)}
    assert book == {
        *("bulk", "delete", "erase", "expire", "operate", "record", "rescue", "send", "submit", "workflow")
    }


@pytest.mark.parametrize(
    "text", ["UPDATE task SET x", "insert into task (id)", "DELETE  FROM\n task AS t", 'UPDATE "task" SET x']
)
def test_a_text_that_writes_a_task_is_recognized(text: str) -> None:
    assert WRITES_TASK.search(text)


@pytest.mark.parametrize(
    "text", ["SELECT 1 FROM task", "INSERT INTO task_log (id)", "UPDATE tasks SET x", "FOR UPDATE OF task"]
)
def test_a_text_that_writes_no_task_is_not(text: str) -> None:
    assert not WRITES_TASK.search(text)


def ends_or_reopens(statement: Statement) -> bool:
    """Whether the statement ends tasks, or reopens them by clearing their end, in an UPDATE of
    `task`.
    """
    return any(ENDS.search(assigned) for assigned in UPDATE.findall(statement.sql))


def test_the_transitions_contain_the_statements_known_to_end_or_reopen_tasks() -> None:
    ending = {name for name, statement in BOOK.items() if ends_or_reopens(statement)}
    assert ending >= {
        *(
            "erase.CANCEL_ALL",
            "expire.EXPIRE",
            "operate.CANCEL",
            "operate.RETRY",
            "record.RECORD",
            "record.COMPLETE",
        ),
        *("rescue.RESCUE_FROM", "rescue.RESCUE_ORPHANS", "workflow.CANCEL_MEMBERS"),
    }


@pytest.mark.parametrize("name", BOOK)
def test_a_statement_that_ends_or_reopens_tasks_is_an_ending(name: str) -> None:
    assert isinstance(BOOK[name], Ending) == ends_or_reopens(BOOK[name])


@pytest.mark.parametrize("name", [name for name in BOOK if isinstance(BOOK[name], Ending)])
def test_an_ending_appends_events_unless_it_concerns_no_workflow(name: str) -> None:
    assert ("INSERT INTO workflow_event" in BOOK[name].sql) == (name not in WITHOUT_EVENT)
