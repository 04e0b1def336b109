"""Tests of submitting many tasks in one statement, each with its own idempotency key.

Each key must lead to exactly one task.
"""

import asyncio
import random
from uuid import UUID

from shared.errors import KeyReused
from shared.keyed_submission import Keyed, KeyedSubmitter
from shared.new_task import NewTask
from shared.submission import OnceKey
from tests.platform import Platform
from tests.sample_tasks import FAIL, Fails

COMMITS = "SELECT count(DISTINCT xmin::text) AS n FROM task"


def keyed(platform: Platform, key: str, *, body: bytes = b"", former: tuple[bytes, ...] = ()) -> Keyed:
    task = platform.submitter.checked(NewTask(contract=FAIL, params=Fails(kind=key)))
    return Keyed(task, OnceKey("owner:7", key, body or key.encode(), former))


def submitter(platform: Platform) -> KeyedSubmitter:
    return KeyedSubmitter(platform.database, platform.submitter)


async def _stored(platform: Platform) -> dict[UUID, str]:
    return {row["id"]: row["params"] for row in await platform.rows("SELECT id, params FROM task")}


async def test_each_key_gets_its_own_task_in_one_commit(platform: Platform) -> None:
    keys = [f"kind {n}" for n in random.sample(range(100), 100)]
    answers = await submitter(platform).submit([keyed(platform, key) for key in keys])
    stored = await _stored(platform)
    assert all(isinstance(answer, tuple) and answer[1] for answer in answers)
    for key, answer in zip(keys, answers, strict=True):
        assert isinstance(answer, tuple)
        assert stored[answer[0]] == f'{{"kind": "{key}", "times": 1000}}'
    assert len(stored) == 100
    assert (await platform.rows(COMMITS))[0]["n"] == 1
    lane = sum((await platform.queues.depths(FAIL.queue))[1].values())
    assert lane == 100


async def test_the_first_submission_of_a_key_counts_within_a_group_and_after_it(platform: Platform) -> None:
    group = [
        keyed(platform, "k"),
        keyed(platform, "k"),
        keyed(platform, "k", body=b"another"),
        keyed(platform, "l"),
    ]
    first, again, reused, other = await submitter(platform).submit(group)
    assert isinstance(first, tuple)
    assert first[1]
    assert again == (first[0], False)
    assert isinstance(reused, KeyReused)
    assert other not in (first, again)

    later = [keyed(platform, "m"), keyed(platform, "k"), keyed(platform, "k", body=b"next", former=(b"k",))]
    new, *repeated = await submitter(platform).submit(later)
    assert isinstance(new, tuple)
    assert new[1]
    assert repeated == [(first[0], False)] * 2
    assert len(await _stored(platform)) == 3


async def test_a_key_is_free_again_after_a_day(platform: Platform) -> None:
    (first,) = await submitter(platform).submit([keyed(platform, "k")])
    await platform.rows("UPDATE submission_key SET created_at = now() - interval '25 hours'")
    (second,) = await submitter(platform).submit([keyed(platform, "k", body=b"another")])
    assert isinstance(first, tuple)
    assert isinstance(second, tuple)
    assert second[1]
    assert first[0] != second[0]


async def test_groups_with_the_same_keys_wait_for_each_other_without_a_deadlock(
    platform: Platform,
) -> None:
    chance = random.Random(1)
    keys = [f"k{n}" for n in range(30)]

    async def submit() -> list[tuple[UUID, bool] | KeyReused]:
        shuffled = chance.sample(keys, len(keys))
        answers = await submitter(platform).submit([keyed(platform, key) for key in shuffled])
        return [answer for _, answer in sorted(zip(shuffled, answers, strict=True), key=lambda pair: pair[0])]

    all_answers = await asyncio.gather(*(submit() for _ in range(8)))
    for of_one_key in zip(*all_answers, strict=True):
        found = [answer for answer in of_one_key if isinstance(answer, tuple)]
        assert len(found) == 8
        assert len({task_id for task_id, _ in found}) == 1
        assert sum(is_new for _, is_new in found) == 1
    assert len(await _stored(platform)) == len(keys)
