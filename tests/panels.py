"""Helpers for tests of Grafana dashboards: the queries of all dashboards, and whether they return
data.
"""

import asyncio
import json
import math
from collections.abc import Iterator
from typing import Any

from monitoring.grafana import dashboard
from tests.eventually import eventually
from tests.prometheus import Prometheus

PAGES: list[dict[str, Any]] = [json.loads(dashboard.file(name).read_text()) for name in dashboard.PAGES]
#: Values for the variables in dashboard queries. They select everything, as the choice "All" does.
CHOSEN = {"$queue": ".*", "$task": ".*"}
#: Metrics of the Postgres and Redis exporters, named as in the releases that docker-compose.yml
#: uses.
EXPORTED = """
pg_stat_activity_count{datname="often",state="active"} 3
pg_stat_activity_max_tx_duration{datname="often",state="active"} 0.01
pg_settings_max_connections{server="postgres:5432"} 300
pg_database_size_bytes{datname="often"} 1.1e+07
redis_memory_used_bytes 1.5e+06
redis_memory_max_bytes 5.36870912e+08
redis_commands_processed_total 1042
redis_connected_clients 9
node_filesystem_avail_bytes{mountpoint="/volumes/postgres"} 8e+10
node_filesystem_size_bytes{mountpoint="/volumes/postgres"} 1e+11
"""


def queries() -> Iterator[tuple[str, str]]:
    """All queries of the dashboards, each with the titles of its dashboard and panel."""
    for page in PAGES:
        for panel in page["panels"]:
            for target in panel.get("targets", []):
                query = target["expr"]
                for variable, value in CHOSEN.items():
                    query = query.replace(variable, value)
                yield f"{page['title']}: {panel['title']}", query


async def all_have_data(prometheus: Prometheus, limit_s: float) -> int:
    """Wait until every query returns a number.

    Returns how many queries there are. Raises AssertionError with those that return none within
    `limit_s`.
    """
    asked = list(queries())
    found = await asyncio.gather(*(_has_data(prometheus, query, limit_s) for _, query in asked))
    empty = [
        f"{panel} ({query})" for (panel, query), has_data in zip(asked, found, strict=True) if not has_data
    ]
    assert not empty, f"no data: {'; '.join(empty)}"
    return len(asked)


async def _has_data(prometheus: Prometheus, query: str, limit_s: float) -> bool:
    async def any_number() -> bool:
        return any(not math.isnan(value) for value in await prometheus.values(query))

    try:
        return await eventually(any_number, limit_s)
    except AssertionError:
        return False
