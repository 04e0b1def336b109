import re
from pathlib import Path

from services.worker.drain import FLUSH_S, INTERRUPT_S

ROOT = Path(__file__).parents[3]
COMPOSE = (ROOT / "docker-compose.yml").read_text()


def test_a_worker_has_time_to_drain_before_it_is_killed() -> None:
    workers = COMPOSE.partition("x-worker:")[2]
    limit = re.search(r"stop_grace_period: (\d+)s", workers)
    grace = re.search(r'OFTEN_WORKER_GRACE: "(\d+)"', workers)
    assert limit is not None
    assert grace is not None
    assert int(limit[1]) > int(grace[1]) + INTERRUPT_S + FLUSH_S
