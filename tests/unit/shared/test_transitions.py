"""Every statement that writes a task is in the book, and every end has its tail."""

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

#: `task` itself or its kept partition, not `task_attempt` or `task_log`.
WRITES_TASK = re.compile(
    r"\b(?:INSERT\s+INTO|UPDATE(?:\s+ONLY)?|DELETE\s+FROM(?:\s+ONLY)?|MERGE\s+INTO|TRUNCATE(?:\s+TABLE)?)"
    r"\s+\"?task(?:_kept)?\b\"?",
    re.IGNORECASE,
)
#: Finds the assignments of an UPDATE of `task`. Every such statement of the book has a WHERE.
UPDATE = re.compile(r"\bUPDATE task(?: AS t)? SET\b(.*?)\bWHERE\b", re.DOTALL)
#: An assignment of an end. A statement that reopens a task has to clear `completed_at`.
ENDS = re.compile(r"\bcompleted_at = |'(?:success|failure|revoked)'")

BOOK = {
    f"{module.name}.{name}": value
    for module in pkgutil.iter_modules(transitions.__path__)
    for name, value in vars(importlib.import_module(f"{transitions.__name__}.{module.name}")).items()
    if isinstance(value, Statement)
}


def texts(source: str) -> Iterator[tuple[int, str]]:
    """String constants of a module; what an f-string inserts counts as a space."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else " " for part in node.values]
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def writers(path: Path) -> list[int]:
    """Lines of a file whose text writes `task`."""
    if path.suffix == ".sql":
        return [1] if WRITES_TASK.search(path.read_text()) else []
    return [line for line, text in texts(path.read_text()) if WRITES_TASK.search(text)]


def sources() -> list[Path]:
    found = [path for folder in ("services", "shared") for path in (ROOT / folder).rglob("*")]
    return [path for path in found if path.suffix in (".py", ".sql")]


def test_only_the_book_writes_tasks() -> None:
    book = ROOT / "shared" / "ledger" / "transitions"
    outside = [path for path in sources() if book not in path.parents and "migrations" not in path.parts]
    found = {f"{path.relative_to(ROOT)}:{line}" for path in outside for line in writers(path)}
    assert found == set()


def test_the_search_finds_what_the_book_holds() -> None:
    book = {path.stem for path in sources() if path.parent.name == "transitions" and writers(path)}
    assert book == {"delete", "erase", "expire", "operate", "record", "rescue", "send", "submit", "workflow"}


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
    """Whether an UPDATE of `task` in it assigns an end, or reopens a task by clearing its end."""
    return any(ENDS.search(assigned) for assigned in UPDATE.findall(statement.sql))


def test_the_book_holds_the_statements_that_are_known_to_end_or_reopen_tasks() -> None:
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
    assert not isinstance(BOOK[name], Ending) or "INSERT INTO workflow_event" in BOOK[name].sql
