"""Requests and answers of the clients, in a file: a line before each request and after each answer.

The ledger is compared with this file, which outlives whatever happens to the drill itself.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID


class ClientLog:
    """Appends to the file; safe in threads, for each line is one write."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def asks(self, key: str, count: int) -> None:
        """A client is about to submit tasks under a key."""
        self._write({"key": key, "asks": count})

    def was_told(self, key: str, ids: Sequence[UUID]) -> None:
        """A client read an answer that accepts the tasks of a key."""
        self._write({"key": key, "ids": [str(task_id) for task_id in ids]})

    def _write(self, line: dict[str, object]) -> None:
        os.write(self._file, f"{json.dumps(line)}\n".encode())

    def close(self) -> None:
        os.close(self._file)


@dataclass(frozen=True)
class Accepted:
    """The contents of the file: ids in answers, and keys whose answers contradict each other."""

    ids: frozenset[UUID]
    #: Keys that were asked for and never answered.
    unanswered: int
    #: Keys with answers that differ, with ids of another key, or with another number of ids than asked for.
    contradicted: int


def read(path: Path) -> Accepted:
    """Read the whole file."""
    asked: dict[str, int] = {}
    told: dict[str, list[str]] = {}
    contradicted: set[str] = set()
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        key = entry["key"]
        if "asks" in entry:
            asked[key] = entry["asks"]
        elif told.setdefault(key, entry["ids"]) != entry["ids"] or len(entry["ids"]) != asked.get(key):
            contradicted.add(key)
    owner: dict[str, str] = {}
    for key, ids in told.items():
        contradicted |= {key for task_id in ids if owner.setdefault(task_id, key) != key}
    return Accepted(frozenset(map(UUID, owner)), len(asked.keys() - told.keys()), len(contradicted))
