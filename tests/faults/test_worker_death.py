"""Tests the state of tasks after workers have died, stalled or been stopped."""

import asyncio
import signal
from datetime import timedelta
from uuid import UUID

from local.ports import pick
from shared.ledger.transitions.operate import RETRY, UNEDITED
from shared.transport.keys import unacked_key
from tests.eventually import eventually
from tests.hostile_tasks import CLEAN_UP
from tests.platform import Platform
from tests.sample_tasks import CRASH, EFFECT, HOG, INSTANT, WAIT, WAIT_ASYNC, Nothing, Seconds

#: Seconds within which a task of a dead worker must run again: three times what the design
#: promises.
RESCUE_LIMIT_S = 45


async def test_a_task_whose_worker_was_killed_runs_again(platform: Platform) -> None:
    worker = await platform.start_worker()
    await platform.start_scheduler()
    (task_id,) = await platform.submit(WAIT, Seconds(seconds=2))
    await platform.until(task_id, "started")
    worker.kill()
    await platform.start_worker()

    row = await platform.until(task_id, "success", timeout_s=RESCUE_LIMIT_S)

    assert (row["attempt"], row["interruptions"], row["crashes"]) == (2, 1, 0)
    (first,) = await platform.attempts(task_id)
    assert (first["outcome"], first["attempt"], first["error_kind"]) == ("crashed", 1, "worker_died")
    assert first["started_at"] < first["ended_at"] < row["started_at"]


async def test_claimed_but_unstarted_tasks_of_a_killed_worker_run_and_none_is_blamed(
    platform: Platform,
) -> None:
    await platform.start_scheduler()
    ids = await platform.submit(INSTANT, Nothing(), count=100)
    claimer = platform.start("tests.faults.claimer", "100")

    async def all_claimed() -> bool:
        return all(row["holder"] and row["status"] == "pending" for row in await platform.tasks(ids))

    await eventually(all_claimed)
    claimer.kill()
    await platform.start_worker()

    rows = await platform.all_final(ids, RESCUE_LIMIT_S)

    assert {(r["status"], r["attempt"], r["crashes"], r["interruptions"]) for r in rows} == {
        ("success", 1, 0, 0)
    }
    assert not await platform.rows("SELECT 1 FROM task_attempt")


async def test_a_task_that_kills_its_process_is_given_up_and_its_neighbours_are_not_blamed(
    platform: Platform,
) -> None:
    port = pick("scheduler")["scheduler"]
    await platform.start_scheduler(OFTEN_METRICS_PORT=str(port))
    neighbours = await platform.submit(WAIT, Seconds(seconds=0.2), count=30)
    (poison,) = await platform.submit(CRASH, Nothing())

    # This check also acts as the process manager: it starts a new worker when all others have died.
    async def given_up() -> bool:
        if all(process.poll() is not None for process in platform.processes[1:]):
            await platform.start_worker()
        return bool((await platform.task(poison))["status"] == "failure")

    await eventually(given_up, 4 * RESCUE_LIMIT_S)

    row = await platform.task(poison)
    assert (row["error_kind"], row["crashes"]) == ("crash_loop", 3)
    scraped = await platform.metrics(port)
    assert scraped["often_tasks_crashed_total['default', 'failure', 'sample.crash']"] == 1
    assert scraped["often_tasks_crashed_total['default', 'sample.crash', 'sent_again']"] >= 2
    rows = await platform.all_final(neighbours, RESCUE_LIMIT_S)
    assert {(r["status"], r["crashes"]) for r in rows} == {("success", 0)}

    attempts = await platform.attempts(poison)
    await platform.rows(RETRY, id=poison, reason="released", delay_s=None, **UNEDITED)
    row = await platform.task(poison)
    assert (row["status"], row["crashes"], row["failures"], row["suspect"]) == ("pending", 0, 0, False)
    assert await platform.attempts(poison) == attempts


async def rescued(platform: Platform, task_id: UUID) -> bool:
    """Whether the task was sent to Redis again after its worker had died."""
    row = await platform.task(task_id)
    return bool(row["claim"] > 1 and row["sent_at"])


async def wait_of_urgent(platform: Platform) -> float:
    """Submit a task of the highest priority. Returns how many seconds it waited until it
    started.
    """
    (task_id,) = await platform.submit(INSTANT, Nothing(), priority=9)
    row = await platform.until(task_id, "success", timeout_s=RESCUE_LIMIT_S)
    return float((row["started_at"] - row["created_at"]).total_seconds())


async def test_suspects_run_alone_no_longer_than_it_took_them_to_die(platform: Platform) -> None:
    await platform.start_scheduler()
    worker = await platform.start_worker()
    ids = await platform.submit(WAIT, Seconds(seconds=8), count=4)
    for task_id in ids:
        await platform.until(task_id, "started")
    worker.kill()
    await eventually(lambda: rescued(platform, ids[-1]))
    await platform.start_worker()

    waits = [await wait_of_urgent(platform)]
    while {row["status"] for row in await platform.tasks(ids)} != {"success"}:
        waits.append(await wait_of_urgent(platform))

    assert max(waits) < 8
    rows = await platform.tasks(ids)
    assert {(row["attempt"], row["crashes"], row["suspect"]) for row in rows} == {(2, 0, False)}


async def test_a_worker_with_a_long_body_continues_while_a_suspect_waits(platform: Platform) -> None:
    await platform.start_scheduler()
    dying = await platform.start_worker(OFTEN_WORKER_THREADS="1")
    (suspect,) = await platform.submit(WAIT, Seconds(seconds=60))
    await platform.until(suspect, "started")
    await platform.start_worker()
    (long,) = await platform.submit(WAIT, Seconds(seconds=40))
    await platform.until(long, "started")
    dying.kill()
    await eventually(lambda: rescued(platform, suspect))

    assert await wait_of_urgent(platform) < 15

    assert (await platform.task(long))["status"] == "started"
    assert (await platform.task(suspect))["status"] == "pending"
    # The task whose worker died (the suspect) must run alone. It starts as soon as another worker
    # is idle.
    await platform.start_worker()
    await platform.until(suspect, "started", timeout_s=15)


async def test_a_call_that_never_releases_the_interpreter_ends_only_its_own_process(
    platform: Platform,
) -> None:
    await platform.start_scheduler()
    hung = await platform.start_worker(OFTEN_STALL_AFTER="10")
    (neighbour,) = await platform.submit(WAIT, Seconds(seconds=3))
    await platform.until(neighbour, "started")
    (task_id,) = await platform.submit(HOG, Nothing())
    assert await asyncio.to_thread(hung.wait, RESCUE_LIMIT_S) == 1
    assert "in hog" in platform.log_of(hung)
    await platform.start_worker()

    row = await platform.until(neighbour, "success", timeout_s=RESCUE_LIMIT_S)
    assert (row["attempt"], row["crashes"]) == (2, 0)
    assert (await platform.task(task_id))["status"] in ("pending", "started")


async def test_an_id_that_was_fetched_last_is_given_back_before_a_body_is_handed_over(
    platform: Platform,
) -> None:
    worker = platform.start("tests.faults.unreconciled_worker", OFTEN_WORKER_GRACE="0")
    (stuck,) = await platform.submit(CLEAN_UP, Seconds(seconds=60))
    await platform.until(stuck, "started")
    (fetched,) = await platform.submit(INSTANT, Nothing(), delay=timedelta(hours=1))
    worker_id = await platform.worker_of(worker)
    assert worker_id is not None
    # Make it look as if the response to a fetch had been lost.
    await platform.rows("UPDATE task SET send_at = NULL, sent_at = now() WHERE id = {}", fetched)
    await platform.queues.client.sadd(unacked_key(worker_id), fetched.bytes)
    worker.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(worker.wait, 30) == 0
    row = await platform.task(fetched)
    assert (row["sent_at"], row["send_at"] is not None) == (None, True)
    assert await platform.queues.unacked(worker_id) == set()
    assert (await platform.task(stuck))["status"] == "pending"


async def test_a_worker_that_stalled_past_its_lease_cannot_change_any_task(platform: Platform) -> None:
    await platform.rows("CREATE TABLE effect (task_id uuid)")
    await platform.rows("GRANT INSERT ON effect TO often_worker")
    await platform.start_scheduler(OFTEN_STALL_AFTER="10")
    stalled = await platform.start_worker()
    before = await platform.worker_of(stalled)
    (task_id,) = await platform.submit(EFFECT, Seconds(seconds=2))
    await platform.until(task_id, "started")
    stalled.send_signal(signal.SIGSTOP)
    await platform.start_worker()

    row = await platform.until(task_id, "success", timeout_s=RESCUE_LIMIT_S)
    stalled.send_signal(signal.SIGCONT)

    async def replaced() -> bool:
        return await platform.worker_of(stalled) != before

    await eventually(replaced)
    after = await platform.task(task_id)
    assert (after["status"], after["claim"], after["result"]) == ("success", row["claim"], row["result"])
    effects = await platform.rows("SELECT count(*) AS n FROM effect WHERE task_id = {}", task_id)
    assert effects[0]["n"] == 1


async def test_a_stopping_worker_finishes_what_it_can_and_gives_the_rest_back(platform: Platform) -> None:
    worker = await platform.start_worker()
    short = await platform.submit(WAIT, Seconds(seconds=1), count=4)
    long = [
        *await platform.submit(WAIT, Seconds(seconds=60)),
        *await platform.submit(WAIT_ASYNC, Seconds(seconds=60)),
    ]
    for task_id in (*short, *long):
        await platform.until(task_id, "started")
    waiting = await platform.submit(INSTANT, Nothing(), count=50)
    worker.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(worker.wait, 20) == 0
    assert "ignore the interrupt" not in platform.log_of(worker)

    assert {row["status"] for row in await platform.tasks(short)} == {"success"}
    for row in await platform.tasks(long):
        assert (row["status"], row["holder"], row["interruptions"]) == ("pending", None, 1)
        assert row["wait_reason"] == "its worker stopped"
        (attempt,) = await platform.attempts(row["id"])
        assert attempt["outcome"] == "interrupted"
    assert not await platform.rows("SELECT 1 FROM task WHERE holder IS NOT NULL")

    await platform.start_worker()
    assert {row["status"] for row in await platform.all_final(waiting)} == {"success"}
