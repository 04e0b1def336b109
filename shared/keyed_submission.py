"""Stores many tasks with an idempotency key each, in one SQL statement and one commit.

In contrast, `Submitter.submit_once` stores several tasks under one key.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from shared.errors import KeyReused
from shared.ledger.database import Database
from shared.ledger.transitions import submit
from shared.new_task import CheckedTask, values_of
from shared.submission import OnceKey, Submitter

#: Scope and idempotency key. Two submissions with the same scope and key must be identical.
Place = tuple[str, str]


class Keyed(NamedTuple):
    """A task that is to be stored only once under its idempotency key."""

    task: CheckedTask
    once: OnceKey

    @property
    def place(self) -> Place:
        return self.once.scope, self.once.key


class _First(NamedTuple):
    """The submission that was the first to be stored under an idempotency key."""

    task_id: UUID
    body_hash: bytes


class KeyedSubmitter:
    """Stores tasks under idempotency keys.

    It uses a `Submitter`, which encrypts the tasks' sensitive fields and pushes their ids to Redis.
    """

    def __init__(self, database: Database, submitter: Submitter) -> None:
        self._database = database
        self._submitter = submitter

    async def submit(self, wanted: Sequence[Keyed]) -> list[tuple[UUID, bool] | KeyReused]:
        """Store tasks, and return for each one its id and whether this call has stored it.

        For a task whose key was used for another submission, the problem is returned instead. If
        several of the tasks have the same key, the first one is stored. If an error is raised,
        nothing is stored. Raises ServerUnavailable.
        """
        numbers: dict[Place, int] = {}
        for number, each in enumerate(wanted):
            numbers.setdefault(each.place, number)
        found: dict[Place, _First] = {}
        new: set[int] = set()
        # A second try is rarely needed: only if a key was taken, and then deleted before it could
        # be looked up.
        while open_ := [wanted[number] for place, number in numbers.items() if place not in found]:
            stored = await self._store(open_)
            new |= {numbers[place] for place in stored}
            found |= stored | await self._look_up([each for each in open_ if each.place not in stored])
        return [_answer(each, found[each.place], is_new=number in new) for number, each in enumerate(wanted)]

    async def _store(self, wanted: Sequence[Keyed]) -> dict[Place, _First]:
        """Store the tasks whose idempotency keys are not taken yet."""
        tasks = self._submitter.sealed([each.task for each in wanted])
        (row,) = await self._database.run(
            submit.SUBMIT_EACH_ONCE,
            **values_of(tasks),
            **_keys(wanted),
            number=list(range(len(wanted))),
            body_hash=[each.once.body_hash for each in wanted],
        )
        won = [(n, task_id) for n, task_id in enumerate(row["ids"]) if task_id is not None]
        await self._submitter.accepted([tasks[n] for n, _ in won], [task_id for _, task_id in won])
        return {wanted[n].place: _First(task_id, wanted[n].once.body_hash) for n, task_id in won}

    async def _look_up(self, wanted: Sequence[Keyed]) -> dict[Place, _First]:
        if not wanted:
            return {}
        rows = await self._database.run(submit.SUBMITTED_UNDER_EACH, **_keys(wanted))
        return {wanted[row["number"] - 1].place: _First(row["task_ids"][0], row["body_hash"]) for row in rows}


def _keys(wanted: Iterable[Keyed]) -> dict[str, Any]:
    scopes, keys = zip(*(each.place for each in wanted), strict=True)
    return {"scope": list(scopes), "key": list(keys)}


def _answer(each: Keyed, first: _First, *, is_new: bool) -> tuple[UUID, bool] | KeyReused:
    if first.body_hash not in (each.once.body_hash, *each.once.former_hashes):
        return KeyReused(each.once.key)
    return first.task_id, is_new
