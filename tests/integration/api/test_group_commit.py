"""Concurrent submissions share a commit, and nothing else."""

import asyncio

from services.api.tasks.group_commit import GroupCommit
from shared.errors import InvalidFields
from shared.submission import NewTask
from tests.platform import Platform
from tests.sample_tasks import FAIL, Fails

COMMITS = "SELECT count(DISTINCT xmin::text) AS n FROM task"


def new(kind: str) -> NewTask:
    return NewTask(contract=FAIL, params=Fails(kind=kind))


async def test_who_comes_while_one_is_stored_is_stored_together(platform: Platform) -> None:
    group = GroupCommit(platform.submitter)

    ids = await asyncio.gather(*(group.submit(new(f"kind {n}")) for n in range(50)))

    rows = {row["id"]: row["params"] for row in await platform.tasks(ids)}
    assert [rows[task_id] for task_id in ids] == [f'{{"kind": "kind {n}", "times": 1000}}' for n in range(50)]
    assert (await platform.rows(COMMITS))[0]["n"] < 5
    await group.submit(new("alone"))
    assert len(await platform.rows("SELECT 1 FROM task")) == 51


async def test_what_is_refused_hurts_none_that_is_stored_beside_it(platform: Platform) -> None:
    group = GroupCommit(platform.submitter)
    kinds = ["first", *(f"kind {n}" for n in range(5)), "a NUL \x00", *(f"kind {n}" for n in range(5, 9))]

    answers = await asyncio.gather(*(group.submit(new(kind)) for kind in kinds), return_exceptions=True)

    refused = [kind for kind, answer in zip(kinds, answers, strict=True) if isinstance(answer, Exception)]
    assert refused == ["a NUL \x00"]
    assert isinstance(answers[kinds.index("a NUL \x00")], InvalidFields)
    assert len(await platform.rows("SELECT 1 FROM task")) == len(kinds) - 1
