"""Tests that the containers and the example settings match the hotel application."""

import re
from pathlib import Path

from services.worker import registry
from services.worker.queue_choice import queue_names
from services.worker.registry import TaskFunction
from shared import settings
from shared.contracts import catalogue
from shared.contracts.contract import Contract, Params, Result
from shared.environment import known_fields
from shared.hotel.settings import HotelSettings
from shared.settings import Settings
from tests.installed import INSTALLED

ROOT = Path(__file__).parents[4]
COMPOSE = (ROOT / "docker-compose.yml").read_text()


def test_every_queue_has_one_group_of_workers_in_containers() -> None:
    tasks = registry.load(INSTALLED)
    served = [queue_names(names, tasks) for names in re.findall(r"OFTEN_WORKER_QUEUES: (\S+)", COMPOSE)]
    assert sorted(name for names in served for name in names) == sorted(catalogue.load(INSTALLED).queues)


def test_a_queue_that_no_service_names_is_served_by_the_default_workers() -> None:
    parcels = Contract(name="parcels.weigh", queue="parcels", params=Params, result=Result)
    tasks = registry.load(INSTALLED) | {
        parcels.name: TaskFunction(parcels, lambda _context, _params: Result())
    }
    choices = re.findall(r"OFTEN_WORKER_QUEUES: (\S+)", COMPOSE)
    assert ["parcels" in queue_names(names, tasks) for names in choices] == [True, False, False, False]


def test_the_example_settings_are_accepted() -> None:
    text = (ROOT / "deploy/example.env").read_text()
    given = dict(re.findall(r"^(?:# )?([A-Z_]+)=(.*)$", text, re.MULTILINE))
    known = {*known_fields(Settings), *known_fields(HotelSettings)}
    assert given.keys() <= known
    assert settings.read(given, needs=()).of(HotelSettings).smtp_host == "mail"
