"""Tests that every change of a task is published by the process that committed it.

Without that, lists would not show the change at all. Other streams would show it some seconds
later, because they also read rows.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from services.api.workflows.schemas import RetryBody
from services.scheduler.expirer import Expirer
from services.scheduler.rescuer import Rescuer
from shared.ledger.database import in_fresh_context
from shared.ledger.lifecycle import FINAL
from shared.ledger.tally import Tally
from shared.ledger.transitions.workflow import REQUEST_CANCEL
from shared.new_task import NewTask
from shared.transport import events
from shared.transport.events import TaskChange
from shared.workflows.advancer import Advancer
from shared.workflows.retry import Mode
from shared.workflows.shapes import chain
from shared.workflows.workflow import Workflow
from tests.eventually import eventually
from tests.integration.workflows.crew import Crew
from tests.integration.workflows.plays import end_all, single, submitter
from tests.platform import Platform
from tests.sample_tasks import EFFECT, FAIL, INSTANT, SPAWN, TALK, Fails, Nothing, Seconds, Spawns

NEW = NewTask(contract=INSTANT, params=Nothing())


class Heard:
    """Listens to the published changes, and keeps the newest revision of each task."""

    def __init__(self) -> None:
        self.tasks: dict[UUID, TaskChange] = {}
        self.logged: set[UUID] = set()
        self.workflows: set[UUID] = set()

    def take(self, message: bytes) -> None:
        changes = events.decode(message)
        for change in changes.tasks:
            known = self.tasks.get(change.id)
            if known is None or change.revision > known.revision:
                self.tasks[change.id] = change
        self.logged.update(changes.logged)
        self.workflows.update(changes.workflows)

    async def status(self, task_id: UUID, status: str, *, since: int = 0) -> TaskChange:
        """Wait until a change with this status of the task is published, whose revision is `since`
        or later.
        """

        def found() -> TaskChange | None:
            change = self.tasks.get(task_id)
            is_it = change is not None and change.status == status and change.revision >= since
            return change if is_it else None

        return await eventually(found, 10)


@pytest.fixture
async def heard(platform: Platform) -> AsyncIterator[Heard]:
    heard = Heard()
    async with platform.queues.client.pubsub() as subscription:
        await subscription.subscribe(platform.queues.events_channel)
        await subscription.get_message(timeout=5)

        async def listen() -> None:
            async for message in subscription.listen():
                heard.take(message["data"])

        listening = asyncio.create_task(listen())
        yield heard
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_a_worker_publishes_what_it_records(platform: Platform, heard: Heard) -> None:
    await platform.rows("CREATE TABLE effect (task_id uuid)")
    await platform.rows("GRANT INSERT ON effect TO often_worker")
    await platform.start_scheduler()
    await platform.start_worker()
    ids = [
        *await platform.submit(TALK, Nothing(), owner=7),
        *await platform.submit(EFFECT, Seconds(seconds=0)),
        *await platform.submit(FAIL, Fails(kind="expected", times=1)),
        *await platform.submit(FAIL, Fails(kind="permanent")),
        *await platform.submit(SPAWN, Spawns(children=2)),
        *await platform.submit(SPAWN, Spawns(children=2, at_once=True)),
    ]
    rows = await platform.all_final(ids)
    rows += await platform.rows("SELECT * FROM task WHERE parent IS NOT NULL")
    assert len(rows) == len(ids) + 4
    rows = await platform.all_final([row["id"] for row in rows])
    for row in rows:
        change = await heard.status(row["id"], row["status"])
        assert change == TaskChange.from_row(row)
    assert heard.tasks[ids[0]].owner == 7
    assert heard.logged == {ids[0]}


async def test_the_scheduler_and_submitters_publish_what_they_commit(
    platform: Platform, heard: Heard
) -> None:
    (late, held) = await platform.submit(INSTANT, Nothing(), count=2)
    for task_id in (late, held):
        await heard.status(task_id, "pending")
    await platform.rows("UPDATE task SET expires_at = now() - interval '1 s' WHERE id = {}", late)
    await platform.rows(
        "UPDATE task SET status = 'started', holder = {}, claim = 1, attempt = 1, started_at = now(),"
        " send_at = NULL, sent_at = NULL, revision = 5 WHERE id = {}",
        uuid4(),
        held,
    )
    tally = Tally(platform.database)
    await Expirer(platform.database, platform.queues, tally).run_once()
    await Rescuer(platform.database, platform.queues, tally, stall_after_s=60).run_once()
    assert (await heard.status(late, "failure")).revision == 1
    assert (await heard.status(held, "pending", since=1)).revision == 6

    async with platform.submitter.transaction():
        (kept,) = await platform.submitter.submit([NEW])
        # Meanwhile, another submission is committed and published by the same publisher. It must
        # not publish the uncommitted task, too.
        (other,) = await in_fresh_context(platform.submitter.submit([NEW]))
        await heard.status(other, "pending")
        assert kept not in heard.tasks  # its transaction has not been committed
    await heard.status(kept, "pending")


async def test_advances_of_a_workflow_are_published(platform: Platform, heard: Heard) -> None:
    flow = Workflow("two")
    chain(
        flow.step(INSTANT, Nothing(), name="first"),
        flow.group(INSTANT, [Nothing()] * 2, name="second"),
    )
    flow.step(INSTANT, Nothing(), name="later", delay=timedelta(hours=1))
    workflow = await submitter(platform).submit(flow)
    tasks = await platform.rows("SELECT * FROM task WHERE workflow = {}", workflow)
    assert {row["step"] for row in tasks} == {"first", "later"}
    for row in tasks:
        assert await heard.status(row["id"], "pending") == TaskChange.from_row(row)

    advancer = Advancer(platform.database, platform.queues)
    await platform.rows(
        "INSERT INTO workflow_event (workflow, step, kind, succeeded) VALUES ({}, 'first', 'ended', 1)",
        workflow,
    )
    await advancer.advance([workflow])
    await eventually(lambda: workflow in heard.workflows)
    members = await platform.rows("SELECT id FROM task WHERE step = 'second'")
    assert len(members) == 2
    for row in members:
        await heard.status(row["id"], "pending")

    await platform.rows(REQUEST_CANCEL, id=workflow)
    await advancer.advance([workflow])
    for row in members:
        change = await heard.status(row["id"], "revoked")
        assert change.status in FINAL


async def test_what_a_retry_of_a_workflow_begins_again(platform: Platform, heard: Heard) -> None:
    crew, advancer = Crew(platform.database), Advancer(platform.database, platform.queues)
    await crew.begin()
    workflow = await submitter(platform).submit(single())
    await end_all(crew, "failure")
    for mode in (Mode.FAILED, Mode.ALL):
        await advancer.advance([workflow])
        (before,) = await crew.tasks("true")
        assert await crew.retry_workflow(workflow, RetryBody(mode=mode))
        await advancer.advance([workflow])
        again = await heard.status(before["id"], "pending", since=before["revision"] + 1)
        assert again == TaskChange.from_row((await crew.tasks("true"))[0])
        await end_all(crew)
