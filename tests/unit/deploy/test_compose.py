import re
from pathlib import Path

import pytest
import yaml

from services.worker.drain import FLUSH_S, INTERRUPT_S

ROOT = Path(__file__).parents[3]
COMPOSE = (ROOT / "docker-compose.yml").read_text()
SERVICES = yaml.safe_load(COMPOSE)["services"]


def test_a_worker_has_time_to_drain_before_it_is_killed() -> None:
    workers = COMPOSE.partition("x-worker:")[2]
    limit = re.search(r"stop_grace_period: (\d+)s", workers)
    grace = re.search(r'OFTEN_WORKER_GRACE: "(\d+)"', workers)
    assert limit is not None
    assert grace is not None
    assert int(limit[1]) > int(grace[1]) + INTERRUPT_S + FLUSH_S


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_container_is_limited_in_processor_memory_and_processes(name: str) -> None:
    """Docker Compose refuses the option `pids_limit` of a service that has
    `deploy.resources.limits`.

    So the number of processes is limited there.
    """
    limits = SERVICES[name]["deploy"]["resources"]["limits"]
    assert limits.keys() == {"cpus", "memory", "pids"}
    assert 64 <= limits["pids"] <= 512


def test_postgres_may_have_a_process_for_each_connection() -> None:
    (connections,) = re.findall(r"max_connections=(\d+)", " ".join(SERVICES["postgres"]["command"]))
    assert SERVICES["postgres"]["deploy"]["resources"]["limits"]["pids"] > int(connections) + 50


def test_prometheus_asks_the_port_on_which_the_images_show_their_metrics() -> None:
    image = (ROOT / "Dockerfile").read_text()
    (port,) = re.findall(r"OFTEN_METRICS_PORT=(\d+)", image)
    scraped = yaml.safe_load((ROOT / "monitoring/prometheus/prometheus.yml").read_text())["scrape_configs"]
    ports = {
        found["port"]
        for job in scraped
        if job["job_name"].startswith("often-")
        for found in job["dns_sd_configs"]
    }
    assert ports == {int(port)}
