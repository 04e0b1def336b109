"""Writes a log file of the requests that the drill's clients send and of the answers that they
receive.

A request is logged before it is sent, and an answer when it has arrived. After the drill, the tasks
in the database are compared with this file, which survives whatever happens to the drill's process.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID


class ClientLog:
    """Appends lines to the log file of the clients. It is thread-safe, because each line is one
    write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def asks(self, key: str, count: int) -> None:
        """Log that a client is about to submit `count` tasks under an idempotency key."""
        self._write({"key": key, "asks": count})

    def was_told(self, key: str, ids: Sequence[UUID]) -> None:
        """Log that a client has received an answer which accepts the tasks of an
        idempotency key.
        """
        self._write({"key": key, "ids": [str(task_id) for task_id in ids]})

    def _write(self, line: dict[str, object]) -> None:
        os.write(self._file, f"{json.dumps(line)}\n".encode())

    def close(self) -> None:
        os.close(self._file)


@dataclass(frozen=True)
class Accepted:
    """What the log file contains: the ids of accepted tasks, and the number of keys with wrong
    answers.
    """

    ids: frozenset[UUID]
    #: Number of idempotency keys under which tasks were submitted but no answer arrived.
    unanswered: int
    #: Number of idempotency keys whose answers were wrong: different answers, ids that belong to
    #: another key, or a wrong number of ids.
    contradicted: int


def read(path: Path) -> Accepted:
    """Read the log file of the clients."""
    asked: dict[str, int] = {}
    accepted: dict[str, list[str]] = {}
    contradicted: set[str] = set()
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        key = entry["key"]
        if "asks" in entry:
            asked[key] = entry["asks"]
        elif accepted.setdefault(key, entry["ids"]) != entry["ids"] or len(entry["ids"]) != asked.get(key):
            contradicted.add(key)
    owner: dict[str, str] = {}
    for key, ids in accepted.items():
        contradicted |= {key for task_id in ids if owner.setdefault(task_id, key) != key}
    return Accepted(frozenset(map(UUID, owner)), len(asked.keys() - accepted.keys()), len(contradicted))
