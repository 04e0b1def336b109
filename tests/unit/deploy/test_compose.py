import re
from pathlib import Path

from services.worker.process import FLUSH_S, INTERRUPT_S
from shared import settings
from shared.contracts import catalogue

ROOT = Path(__file__).parents[3]
COMPOSE = (ROOT / "docker-compose.yml").read_text()


def test_every_queue_has_a_worker_in_containers() -> None:
    served = [names.split(",") for names in re.findall(r"OFTEN_WORKER_QUEUES: (\S+)", COMPOSE)]
    assert set(catalogue.load().queues) <= {name for names in served for name in names}


def test_the_example_settings_are_accepted() -> None:
    lines = (ROOT / "deploy/example.env").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert settings.read(given, needs=()).smtp_host == "mail"


def test_a_worker_has_time_to_drain_before_it_is_killed() -> None:
    workers = COMPOSE.partition("x-worker:")[2]
    limit = re.search(r"stop_grace_period: (\d+)s", workers)
    grace = re.search(r'OFTEN_WORKER_GRACE: "(\d+)"', workers)
    assert limit is not None
    assert grace is not None
    assert int(limit[1]) > int(grace[1]) + INTERRUPT_S + FLUSH_S
