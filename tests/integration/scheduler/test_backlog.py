"""Depth and oldest age of the queues, as the leader tells Prometheus."""

from local.ports import pick
from tests.eventually import eventually
from tests.platform import Platform
from tests.sample_tasks import INSTANT, Nothing


async def test_the_leader_tells_depth_and_age_and_a_standby_does_not(platform: Platform) -> None:
    ports = pick("leader", "standby")
    await platform.start_scheduler(OFTEN_METRICS_PORT=str(ports["leader"]))
    await platform.start_scheduler(OFTEN_METRICS_PORT=str(ports["standby"]))
    ids = await platform.submit(INSTANT, Nothing(), count=2)
    ids += await platform.submit(INSTANT, Nothing(), priority=9)
    # Below the age at which it would be taken for lost.
    await platform.rows("UPDATE task SET sent_at = sent_at - interval '25 s' WHERE id = {}", ids[0])

    async def told() -> dict[str, float] | None:
        values = await platform.metrics(ports["leader"])
        return values if values.get("often_queue_depth['default']") == 3 else None

    values = await eventually(told)
    assert 25 <= values["often_queue_oldest_age_seconds['default']"] < 90
    assert values["often_queue_depth['email']"] == values["often_queue_oldest_age_seconds['email']"] == 0
    assert values["often_scheduler_leader[]"] == 1
    standby = await platform.metrics(ports["standby"])
    assert standby["often_scheduler_leader[]"] == 0
    assert not [name for name in standby if name.startswith("often_queue_depth")]

    await platform.start_worker()
    await platform.all_final(ids)

    async def empty() -> bool:
        values = await platform.metrics(ports["leader"])
        return (
            values["often_queue_depth['default']"] == values["often_queue_oldest_age_seconds['default']"] == 0
        )

    await eventually(empty)
