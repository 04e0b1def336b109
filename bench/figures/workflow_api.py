"""Measures how long it takes over HTTP to read and to cancel a workflow with a group of 10,000
tasks.
"""

import logging
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import httpx

from bench import ours
from bench.api import Api
from bench.figure import Benchmark, Figure, Measured, Round, percentile
from bench.stage import Stage
from shared.contracts.system import HEALTH_CHECK
from shared.ledger.statement import Statement
from tests.eventually import eventually
from tests.platform import Platform

log = logging.getLogger(__name__)

STEPS, MEMBERS = 12, 10_000
#: Number of timed read requests, and of warm-up requests before them.
SAMPLES, WARM_UP = 500, 20

LOOK = Figure(
    "GET of a workflow, p95",
    f"p95 of GET /api/v1/workflows/{{id}} over one connection, {STEPS} steps of which one is a group of "
    f"{MEMBERS:,}, one API process",
    required=10,
    target=5,
    lower_is_better=True,
)
CANCEL = Figure(
    "cancel of a workflow",
    f"from DELETE /api/v1/workflows/{{id}} until the workflow and its {MEMBERS:,} waiting members are final",
    required=2,
    target=1,
    lower_is_better=True,
)

OPEN = Statement("""
    SELECT EXISTS (SELECT FROM workflow WHERE completed_at IS NULL) AS any
""")
REVOKED = Statement("""
    SELECT w.status, w.completed_at, count(t.id) FILTER (WHERE t.status = 'revoked') AS revoked
    FROM workflow AS w JOIN task AS t ON t.workflow = w.id WHERE w.id = :id GROUP BY w.id
""")


async def measure(stage: Stage, rounds: int) -> Sequence[Measured]:
    """Measure reading and canceling a workflow. No worker runs, so the tasks wait until they are
    canceled.
    """
    look, cancel = Measured(LOOK, "ms"), Measured(CANCEL, "s")
    async with ours.running(stage) as platform:
        api = Api(platform)
        await api.start()
        headers = {"Authorization": f"Bearer {await api.sign_up()}"}
        base = f"{api.url}/api/v1"
        async with httpx.AsyncClient(base_url=base, headers=headers, trust_env=False, timeout=30) as http:
            for _ in range(rounds):
                id = await _submit(http, stage.count(MEMBERS))
                times = [await _look(http, id) for _ in range(WARM_UP + stage.count(SAMPLES))]
                look.rounds.append(Round(percentile(times[WARM_UP:], 95), 1))
                cancel.rounds.append(Round(await _cancel(platform, http, id, stage.count(MEMBERS)), 1))
                log.info(
                    "reading the workflow: %.1f ms, canceling it: %.2f s",
                    look.rounds[-1].ours,
                    cancel.rounds[-1].ours,
                )
    return [look, cancel]


async def _submit(http: httpx.AsyncClient, members: int) -> UUID:
    """Submit a workflow of single tasks and one large group, which can all begin at once. Returns
    its id.
    """
    single: list[dict[str, Any]] = [
        {"step": f"step_{number}", "task": HEALTH_CHECK.name, "params": {}} for number in range(STEPS - 1)
    ]
    group = {"step": "group", "task": HEALTH_CHECK.name, "members": [{}] * members}
    answer = await http.post("/workflows", json={"name": "large", "steps": [*single, group]})
    answer.raise_for_status()
    return UUID(answer.json()["workflow_id"])


async def _look(http: httpx.AsyncClient, id: UUID) -> float:
    """Read the workflow. Returns the duration in milliseconds."""
    begun = time.perf_counter()
    answer = await http.get(f"/workflows/{id}")
    took_ms = 1000 * (time.perf_counter() - begun)
    answer.raise_for_status()
    return took_ms


async def _cancel(platform: Platform, http: httpx.AsyncClient, id: UUID, members: int) -> float:
    """Cancel the workflow. Returns the seconds until all its tasks have ended."""

    async def ended() -> bool:
        (row,) = await platform.rows(OPEN)
        return not row["any"]

    begun = time.time()
    (await http.delete(f"/workflows/{id}")).raise_for_status()
    await eventually(ended)
    (row,) = await platform.rows(REVOKED, id=id)
    assert (row["status"], row["revoked"]) == ("revoked", members + STEPS - 1)
    return float(row["completed_at"].timestamp() - begun)


BENCHMARK = Benchmark("workflow_api", measure)
