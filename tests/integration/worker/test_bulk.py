"""Tests of how workers carry out bulk operations: in chunks, each in a separate transaction, over a
real ledger.
"""

import json
import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from services.worker.operations import bulk, chunk, pages
from services.worker.operations.chunk import Chunk
from services.worker.operations.pages import Page
from shared.bulk import statements
from shared.bulk.act import Action, Kind, State
from shared.bulk.matches import Matches
from shared.contracts.context import TaskContext
from shared.ledger.ids import FIRST_ID, LAST_ID
from shared.ledger.task_filter import TaskFilter
from tests.platform import Platform
from tests.sample_tasks import INSTANT, Nothing

ADD_ACCOUNT = """
    INSERT INTO account (email, password_hash, role) VALUES ({}, '-', {}) RETURNING id
"""
FAIL = """
    WITH failed AS (
        UPDATE task SET status = 'failure', error_kind = {}, send_at = NULL, sent_at = NULL, attempt = 1,
            failures = 1, completed_at = now() WHERE id = ANY({}::uuid[])
        RETURNING id, name, queue
    )
    INSERT INTO task_failure (task_id, name, queue, failed_at) SELECT id, name, queue, now() FROM failed
"""
STATES = "SELECT status, count(*)::int AS n FROM task GROUP BY 1 ORDER BY 1"


class Acts:
    """Starts bulk operations, and carries them out as a worker does."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    async def account(self, role: str = "operator") -> int:
        (row,) = await self._platform.rows(ADD_ACCOUNT, f"{uuid4().hex}@often.example", role)
        return int(row["id"])

    async def start(self, action: Action, filter: Mapping[str, Any], **given: Any) -> UUID:
        values = {
            **dict.fromkeys(("changes", "credential", "credential_id", "network", "request_id", "rate")),
            "reason": "a drill",
            "expected": 1,
            "exact": True,
            "until": LAST_ID,
            "cursor": FIRST_ID,
            "kind": "task",
            "task": uuid4(),
            "given": "{}",
            "filter": json.dumps(filter),
            **given,
        }
        values["actor"] = values["actor"] if "actor" in values else await self.account()
        bulk_id = uuid4()
        await self._platform.rows(statements.START, id=bulk_id, action=action, **values)
        return bulk_id

    async def chunk(self, bulk_id: UUID) -> Chunk:
        async with self._platform.database.transaction():
            did = await chunk.run(self._platform.database, bulk_id)
        assert did is not None
        return did

    async def all_of(self, bulk_id: UUID) -> Chunk:
        """Carry out a bulk operation to its end. Returns its last chunk."""
        did = await self.chunk(bulk_id)
        while did.outcome is None:
            did = await self.chunk(bulk_id)
        return did


@pytest.fixture
def acts(platform: Platform) -> Acts:
    return Acts(platform)


async def test_each_action_does_to_many_what_it_does_to_one(platform: Platform, acts: Acts) -> None:
    ids = await platform.submit(INSTANT, Nothing(), count=6)
    later = {"name": ["sample.instant"]}
    holder = uuid4()
    await platform.rows("UPDATE task SET send_at = now() + interval '1 h', sent_at = NULL")
    await platform.rows(
        "UPDATE task SET send_at = NULL, holder = {}, status = 'started' WHERE id = {}", holder, ids[0]
    )

    changes = json.dumps({"priority": 9, "queue": "slow"})
    did = await acts.all_of(await acts.start(Action.CHANGE, later, changes=changes))
    assert did.sums == {"done": 5, "skipped": 0, "refused": 0}
    assert {(row["priority"], row["queue"]) for row in await platform.tasks(ids[1:])} == {(9, "slow")}

    assert (await acts.all_of(await acts.start(Action.RUN_NOW, later))).sums["done"] == 5
    assert not await platform.rows("SELECT 1 FROM task WHERE send_at > now()")

    did = await acts.all_of(await acts.start(Action.CANCEL, later))
    assert did.sums["done"] == 6
    assert [row["id"] for row in did.changed if row["holder"]] == [ids[0]]
    assert await platform.rows(STATES) == [{"status": "revoked", "n": 5}, {"status": "started", "n": 1}]
    counted = await platform.rows("SELECT queue, outcome, n FROM task_minute")
    assert counted == [{"queue": "slow", "outcome": "revoked", "n": 5}]

    assert (await acts.all_of(await acts.start(Action.RETRY, later))).sums["done"] == 5
    await platform.rows(FAIL, "bug", [ids[1]])
    await platform.rows(FAIL, "crash_loop", [ids[2]])
    assert (await acts.all_of(await acts.start(Action.RELEASE, later))).sums["done"] == 1
    assert [row["status"] for row in await platform.tasks(ids[1:3])] == ["failure", "pending"]
    assert not await platform.rows("SELECT 1 FROM task_failure WHERE task_id = {}", ids[2])


async def test_chunks_go_on_behind_the_last_one_and_leave_later_tasks_alone(
    platform: Platform, acts: Acts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunk, "CHUNK", 2)
    monkeypatch.setattr(pages, "STRETCH", 3)
    ids = await platform.submit(INSTANT, Nothing(), count=9)
    await platform.rows(FAIL, "bug", ids)
    bulk_id = await acts.start(Action.RETRY, {"name": ["sample.instant"]}, until=ids[7])

    first = await acts.chunk(bulk_id)
    assert (first.sums["done"], first.outcome) == (2, None)
    # If retried tasks of the first chunk fail again, the same operation does not retry them a
    # second time.
    await platform.rows(FAIL, "bug", ids[:2])
    assert (await acts.all_of(bulk_id)).sums == {"done": 7, "skipped": 0, "refused": 0}

    statuses = [row["status"] for row in await platform.tasks(ids)]
    assert statuses == ["failure"] * 2 + ["pending"] * 5 + ["failure"] * 2
    told = await platform.rows(
        "SELECT action, after, reason FROM audit WHERE target = {} ORDER BY id", str(bulk_id)
    )
    assert [row["action"] for row in told] == [*["bulk.applied"] * 4, "bulk.ended"]
    applied = [changed for row in told[:-1] for changed in json.loads(row["after"])["ids"]]
    assert applied == [str(each) for each in ids[:7]]
    assert json.loads(told[-1]["after"])["outcome"] == "completed"


@pytest.mark.parametrize("step", ["_advance", "_count"])
async def test_a_chunk_that_breaks_off_leaves_its_tasks_and_the_cursor_as_they_were(
    platform: Platform, acts: Acts, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    ids = await platform.submit(INSTANT, Nothing(), count=2)
    await platform.rows(FAIL, "bug", ids)
    bulk_id = await acts.start(Action.RETRY, {"name": ["sample.instant"]})
    database = platform.database
    body = cast(TaskContext, SimpleNamespace(database=database, transaction=database.transaction))

    async def break_off(*_: object) -> None:
        raise ConnectionError("the worker is gone")

    monkeypatch.setattr(chunk, step, break_off)
    with pytest.raises(ConnectionError):
        await bulk.next_chunk(body, bulk_id)
    assert [row["status"] for row in await platform.tasks(ids)] == ["failure"] * 2
    assert await platform.rows("SELECT cursor, done FROM bulk_act") == [{"cursor": FIRST_ID, "done": 0}]
    assert await platform.rows("SELECT id FROM audit WHERE target = {}", str(bulk_id)) == []


class Walked:
    """A database that records how many ids each statement of a bulk operation reads."""

    def __init__(self, platform: Platform) -> None:
        self._database = platform.database
        self.lengths: list[int] = []

    async def run(self, statement: str, *values: Any, **named: Any) -> list[dict[str, Any]]:
        self.lengths += [int(skipped) + 1 for skipped in re.findall(r"OFFSET (\d+)", statement)]
        return await self._database.run(statement, *values, **named)


async def test_a_page_walks_over_more_ids_only_while_it_has_too_few_matches(platform: Platform) -> None:
    ids = await platform.submit(INSTANT, Nothing(), count=30)
    await platform.rows("UPDATE task SET queue = 'rare' WHERE id = ANY({}::uuid[])", [ids[0], ids[20]])

    async def read(wanted: TaskFilter, limit: int) -> tuple[Page, list[int]]:
        walked = Walked(platform)
        matches = Matches(kind=Kind.TASK, action=Action.CANCEL, filter=wanted, owner=None)
        page = await pages.read(cast(Any, walked), matches, after=FIRST_ID, until=LAST_ID, limit=limit)
        return page, walked.lengths

    page, lengths = await read(TaskFilter(name=["sample.instant"]), limit=2)
    assert ([row["id"] for row in page.rows], page.is_last) == (ids[:2], False)
    assert lengths == [2 * pages.GROWTH]
    page, lengths = await read(TaskFilter(queue=["rare"]), limit=3)
    assert ([row["id"] for row in page.rows], page.is_last) == ([ids[0], ids[20]], True)
    assert lengths == [3 * pages.GROWTH, 3 * pages.GROWTH**2]


async def test_an_act_on_failures_reads_only_them(platform: Platform, acts: Acts) -> None:
    ids = await platform.submit(INSTANT, Nothing(), count=4)
    await platform.rows(FAIL, "bug", ids[:3])
    await platform.rows("UPDATE task SET error_message = 'no route' WHERE id = {}", ids[1])
    wanted = {"status": ["failure"], "error": "ROUTE"}
    assert (await acts.all_of(await acts.start(Action.RETRY, wanted))).sums["done"] == 1
    assert (await platform.task(ids[1]))["status"] == "pending"


@pytest.mark.parametrize(
    "loss",
    [
        "UPDATE account SET role = 'viewer' WHERE id = {}",
        "UPDATE account SET is_active = false WHERE id = {}",
        "UPDATE account SET erasure_task = uuidv7() WHERE id = {}",
        'UPDATE api_key SET revoked_at = now() WHERE "user" = {}',
    ],
)
async def test_an_act_ends_as_soon_as_its_account_may_no_longer_do_it(
    platform: Platform, acts: Acts, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    monkeypatch.setattr(chunk, "CHUNK", 2)
    await platform.submit(INSTANT, Nothing(), count=4)
    account = await acts.account()
    (key,) = await platform.rows(
        'INSERT INTO api_key ("user", name, secret_hash, scopes, expires_at)'
        " VALUES ({}, 'a robot', '', '{{}}', 'infinity') RETURNING id",
        account,
    )
    wanted = {"name": ["sample.instant"]}
    bulk_id = await acts.start(Action.CANCEL, wanted, actor=account, credential_id=key["id"])
    assert (await acts.chunk(bulk_id)).outcome is None
    await platform.rows(loss, account)
    assert (await acts.chunk(bulk_id)).outcome is State.FORBIDDEN
    assert await platform.rows(STATES) == [{"status": "pending", "n": 2}, {"status": "revoked", "n": 2}]
    assert (await acts.chunk(bulk_id)).outcome is State.FORBIDDEN


async def test_a_user_reaches_only_his_own_tasks_and_a_stopped_act_nothing(
    platform: Platform, acts: Acts
) -> None:
    user = await acts.account("user")
    (own,) = await platform.submit(INSTANT, Nothing(), owner=user)
    (other,) = await platform.submit(INSTANT, Nothing(), owner=await acts.account("user"))
    wanted = {"name": ["sample.instant"]}
    stopped = await acts.start(Action.CANCEL, wanted)
    await platform.rows(statements.STOP, id=stopped)
    assert (await acts.chunk(stopped)).outcome is State.STOPPED
    retry = await acts.start(Action.RETRY, wanted, actor=user)
    assert (await acts.chunk(retry)).outcome is State.FORBIDDEN
    assert (await acts.all_of(await acts.start(Action.CANCEL, wanted, actor=user))).sums["done"] == 1
    assert [row["status"] for row in await platform.tasks([own, other])] == ["revoked", "pending"]


async def test_tasks_of_workflows_are_refused_and_the_rate_is_kept(platform: Platform, acts: Acts) -> None:
    ids = await platform.submit(INSTANT, Nothing(), count=5)
    await platform.rows(FAIL, "bug", ids)
    await platform.rows("UPDATE task SET workflow = {}, step = 'a' WHERE id = {}", uuid4(), ids[0])
    bulk_id = await acts.start(Action.RETRY, {"name": ["sample.instant"]}, rate=2)
    first = await acts.chunk(bulk_id)
    assert first.sums == {"done": 1, "skipped": 0, "refused": 1}
    waiting = await acts.chunk(bulk_id)
    assert (waiting.sums, 0.5 < waiting.wait_s <= 1) == (first.sums, True)
    await platform.rows("UPDATE bulk_act SET not_before = now()")
    assert (await acts.chunk(bulk_id)).sums["done"] == 3
    (row,) = await platform.rows("SELECT refusals FROM bulk_act")
    assert json.loads(row["refusals"]) == {"belongs-to-workflow": 1}
