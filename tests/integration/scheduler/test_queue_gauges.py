"""Tests the metrics that the leader exports for each queue: depth, age of the oldest task, and
number of tasks due later.
"""

from datetime import timedelta
from functools import partial

from local.ports import pick
from services.scheduler.resender import SETTLING
from shared.transport.queues import Address
from tests.eventually import eventually
from tests.platform import Platform
from tests.sample_tasks import INSTANT, Nothing


async def settled(platform: Platform) -> bool:
    """Whether the leader has settled after its start.

    Until then it sends new ids twice, which makes a lane longer.
    """
    (known,) = await platform.rows("SELECT run_id FROM generation")
    return bool(known["run_id"] != SETTLING)


async def test_the_leader_exports_depth_and_age_and_a_standby_does_not(platform: Platform) -> None:
    ports = pick("leader", "standby")
    await platform.start_scheduler(OFTEN_METRICS_PORT=str(ports["leader"]))
    await platform.start_scheduler(OFTEN_METRICS_PORT=str(ports["standby"]))
    await eventually(partial(settled, platform))
    ids = await platform.submit(INSTANT, Nothing(), count=2)
    ids += await platform.submit(INSTANT, Nothing(), priority=9)
    await platform.submit(INSTANT, Nothing(), count=2, delay=timedelta(hours=1))
    # The task was sent 25 s ago, which is too recent for its id to count as lost.
    await platform.rows("UPDATE task SET sent_at = sent_at - interval '25 s' WHERE id = {}", ids[0])

    async def told() -> dict[str, float] | None:
        values = await platform.metrics(ports["leader"])
        return values if values.get("often_queue_depth['5', 'default']") == 2 else None

    values = await eventually(told)
    assert values["often_queue_depth['9', 'default']"] == 1
    assert values["often_queue_depth['0', 'default']"] == 0
    assert values["often_queue_depth['default', 'rescued']"] == 0
    assert 25 <= values["often_queue_oldest_age_seconds['default']"] < 90
    assert values["often_queue_depth['5', 'maintenance']"] == 0
    assert values["often_queue_oldest_age_seconds['maintenance']"] == 0
    assert values["often_queue_due_later['default']"] == 2
    assert values["often_queue_due_later['maintenance']"] == 0
    assert values["often_scheduler_leader[]"] == 1
    standby = await platform.metrics(ports["standby"])
    assert standby["often_scheduler_leader[]"] == 0
    counts = ("often_queue", "often_workers", "often_schedule_next")
    assert not [name for name in standby if name.startswith(counts)]

    await platform.start_worker()
    await platform.all_final(ids)

    async def empty() -> bool:
        values = await platform.metrics(ports["leader"])
        depths = [value for name, value in values.items() if name.startswith("often_queue_depth")]
        return sum(depths) == values["often_queue_oldest_age_seconds['default']"] == 0

    await eventually(empty)


async def test_a_rescued_task_counts_in_its_lane_with_its_age(platform: Platform) -> None:
    port = pick("leader")["leader"]
    await platform.start_scheduler(OFTEN_METRICS_PORT=str(port))
    await eventually(partial(settled, platform))
    (task_id,) = await platform.submit(INSTANT, Nothing(), delay=timedelta(hours=1))
    # Make the task a suspect (its worker died), and put its id into the lane of rescued ids.
    await platform.rows(
        "UPDATE task SET send_at = NULL, sent_at = now() - interval '20 s', suspect = true WHERE id = {}",
        task_id,
    )
    await platform.queues.push([Address(task_id, "default", 5, rescued=True)])

    async def told() -> dict[str, float] | None:
        values = await platform.metrics(port)
        return values if values.get("often_queue_depth['default', 'rescued']") == 1 else None

    values = await eventually(told)
    assert values["often_queue_depth['5', 'default']"] == 0
    assert 20 <= values["often_queue_oldest_age_seconds['default']"] < 60
