import re
from pathlib import Path

from services.worker.drain import FLUSH_S, INTERRUPT_S
from shared import settings
from shared.contracts import catalogue
from shared.environment import known_fields
from shared.hotel.settings import HotelSettings
from shared.settings import Settings
from tests.installed import INSTALLED

ROOT = Path(__file__).parents[3]
COMPOSE = (ROOT / "docker-compose.yml").read_text()


def test_every_queue_has_one_group_of_workers_in_containers() -> None:
    served = [names.split(",") for names in re.findall(r"OFTEN_WORKER_QUEUES: (\S+)", COMPOSE)]
    assert sorted(name for names in served for name in names) == sorted(catalogue.load(INSTALLED).queues)


def test_the_example_settings_are_accepted() -> None:
    text = (ROOT / "deploy/example.env").read_text()
    given = dict(re.findall(r"^(?:# )?([A-Z_]+)=(.*)$", text, re.MULTILINE))
    known = {*known_fields(Settings), *known_fields(HotelSettings)}
    assert given.keys() <= known
    assert settings.read(given, needs=()).of(HotelSettings).smtp_host == "mail"


def test_a_worker_has_time_to_drain_before_it_is_killed() -> None:
    workers = COMPOSE.partition("x-worker:")[2]
    limit = re.search(r"stop_grace_period: (\d+)s", workers)
    grace = re.search(r'OFTEN_WORKER_GRACE: "(\d+)"', workers)
    assert limit is not None
    assert grace is not None
    assert int(limit[1]) > int(grace[1]) + INTERRUPT_S + FLUSH_S
