"""A fault of the drill: workflows of several shapes run while one part of the system after another
is killed, frozen or wiped.
"""

import asyncio
import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Self, TypeVar
from uuid import UUID, uuid4

import msgspec

from shared.ledger.transitions.workflow import REQUEST_CANCEL
from shared.submission import OnceKey
from shared.workflows.submission import WorkflowSubmitter
from shared.workflows.workflow import Workflow
from tests.drill import flows, policy
from tests.drill.crew import Crew
from tests.drill.database import PASSING
from tests.drill.fault import Fault, fault
from tests.drill.faults.postgres import kill_postgres
from tests.drill.faults.processes import freeze_worker, kill_leader, kill_workers
from tests.drill.faults.redis import wipe_redis
from tests.eventually import eventually
from tests.integration.workflows.crew import COUNTS, WRONG_ENDS
from tests.platform import Platform
from tests.sample_tasks import FAIL

T = TypeVar("T")

SEED = 7
AGAIN_S = 0.2
#: Seconds after the last fault within which every workflow must end. It is long, because work has
#: accumulated, and because a step that begins late still pauses for up to a minute.
END_LIMIT_S = 240.0
#: Maximum age of a workflow event in seconds. An older event means that workflows are not being
#: advanced.
EVENT_LIMIT_S = 5.0
#: Maximum number of messages about wrong workflows that the report contains.
MAX_SHOWN = 5

FLOWS = "SELECT id, name, status, cancels, late, stopped FROM workflow WHERE name LIKE 'drill.%'"
STEPS = """
    SELECT s.workflow, s.name, s.position, s.needs, s.rule, s.k, s.size, s.enough, s.first, s.handler, s.sink,
        s.state, count(t.id)::int AS tasks, count(t.id) FILTER (WHERE t.status = 'success')::int AS succeeded,
        count(t.id) FILTER (WHERE t.status = 'failure')::int AS failed,
        count(t.id) FILTER (WHERE t.status = 'revoked')::int AS revoked,
        count(t.id) FILTER (WHERE t.name = {} AND t.params ->> 'times' IS DISTINCT FROM '0')::int AS failing,
        min(t.result ->> 'value') AS value
    FROM workflow_step AS s LEFT JOIN task AS t ON t.workflow = s.workflow AND t.step = s.name
    GROUP BY s.workflow, s.name
"""
OPEN = "SELECT count(*) AS n FROM workflow WHERE completed_at IS NULL"
OLDEST = """
    SELECT coalesce(max(extract(epoch FROM now() - created_at)), 0)::float8 AS seconds FROM workflow_event
"""


def through(name: str, *faults: Fault, count: int, over_s: float) -> Fault:
    """Create a fault that runs `count` workflows, which take about `over_s` seconds, and applies
    these faults one after another meanwhile.
    """

    @fault(
        f"{count} workflows through: {', '.join(f.title for f in faults)}",
        name=name,
        promised_s=max(f.promised_s for f in faults),
        load_s=over_s,
        deaths=True,
        deaths_again=True,
    )
    async def inflict(crew: Crew) -> str:
        platform, dice = crew.platform, random.Random(SEED)
        mixed = flows.mixed(count, dice, over_s=over_s)
        submitted = [(shape, await _submitted(platform, flow)) for shape, flow in mixed]
        doomed = [workflow for shape, workflow in submitted if shape == flows.canceled.__name__]
        async with _Watch(platform) as watch:
            canceling = asyncio.create_task(_cancel(platform, doomed, over_s=over_s))
            for each in faults:
                await each.inflict(crew)
            await canceling
            await eventually(lambda: _have_ended(platform), END_LIMIT_S)
        statuses = await _judged(platform, count)
        return f"{statuses}, an event waited for up to {watch.oldest_s:.1f} s"

    return inflict


class _Watch:
    """Measures the longest time for which a workflow event has waited to be applied."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self.oldest_s = 0.0

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            for row in await _rows(self._platform, OLDEST):
                self.oldest_s = max(self.oldest_s, row["seconds"])
            await asyncio.sleep(AGAIN_S)


async def _submitted(platform: Platform, flow: Workflow) -> UUID:
    """Submit a workflow, repeatedly under one idempotency key until Postgres accepts it."""
    submitter = WorkflowSubmitter(platform.database, platform.submitter, platform.vault)
    once = OnceKey(scope="drill", key=str(uuid4()), body_hash=hashlib.sha256(b"drill").digest())
    workflow, _ = await _answered(lambda: submitter.submit_once(flow, once))
    return workflow


async def _cancel(platform: Platform, workflows: Sequence[UUID], *, over_s: float) -> None:
    """Cancel these workflows one after another. If an answer is lost, the workflow may be canceled
    twice.
    """
    for workflow in workflows:
        await asyncio.sleep(over_s / len(workflows))
        await _answered(lambda workflow=workflow: platform.rows(REQUEST_CANCEL, id=workflow))  # type: ignore[misc]


async def _answered(ask: Callable[[], Awaitable[T]]) -> T:
    """Call a function repeatedly until Postgres answers."""
    while True:
        try:
            return await ask()
        except PASSING:
            await asyncio.sleep(AGAIN_S)


async def _have_ended(platform: Platform) -> bool:
    return any(not row["n"] for row in await _rows(platform, OPEN))


async def _judged(platform: Platform, count: int) -> str:
    """Count how the workflows ended, for the report. Raises AssertionError if one of them ended in
    a wrong way.
    """
    found = await platform.rows(FLOWS)
    assert len(found) == count, f"{len(found)} workflows instead of {count}"
    steps: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for row in await platform.rows(STEPS, FAIL.name):
        steps[row["workflow"]].append(row)
    wrong = [f"{flow['name']} {problem}" for flow in found for problem in _problems(flow, steps[flow["id"]])]
    wrong += [
        f"counts of {row['name']}" for row in await platform.rows(COUNTS) if row["counted"] != row["found"]
    ]
    wrong += [f"{row['status']} with open tasks" for row in await platform.rows(WRONG_ENDS)]
    (oldest,) = await platform.rows(OLDEST)
    assert oldest["seconds"] <= EVENT_LIMIT_S, f"an event has waited for {oldest['seconds']:.1f} s"
    assert not wrong, f"{len(wrong)} x wrong: {'; '.join(wrong[:MAX_SHOWN])}"
    statuses = Counter(row["status"] for row in found)
    return ", ".join(f"{number} {status}" for status, number in sorted(statuses.items()))


def _problems(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield what is wrong with a workflow: outcomes that contradict its task bodies or the model in
    `tests.drill.policy`.
    """
    flow = msgspec.convert(row, policy.Flow)
    yield from policy.broken(flow, [msgspec.convert(each, policy.Step) for each in rows])
    for each in rows:
        if each["failed"] > each["failing"] or (each["failed"] < each["failing"] and not flow.halted):
            yield f"{each['name']}: {each['failed']} failed instead of {each['failing']}"
        if each["revoked"] and not (flow.halted or each["first"]):
            yield f"{each['name']}: {each['revoked']} revoked"
        if each["name"] == "repair" and each["state"] == policy.SKIPPED:
            yield f"{each['name']} was skipped"
        if each["name"] == "sum" and each["state"] == policy.SUCCESS and each["value"] != str(flows.SUM):
            yield f"{each['name']}: {each['value']}"


async def _rows(platform: Platform, sql: Any, *values: Any, **named: Any) -> list[dict[str, Any]]:
    """Run a query. Returns no rows while Postgres is unavailable."""
    try:
        return await platform.rows(sql, *values, **named)
    except PASSING:
        return []


#: The fault that runs workflows through many faults. Freezing a worker comes last, because the
#: frozen worker must not delay the other faults.
MANY = through(
    "workflows",
    kill_workers,
    wipe_redis,
    kill_postgres,
    kill_leader,
    freeze_worker,
    count=200,
    over_s=60,
)
FAULTS = (MANY,)
