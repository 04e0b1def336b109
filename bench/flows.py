"""Builds and submits this project's workflows for measurements: chains of no-op steps and chords of
no-op tasks.
"""

import asyncio
from uuid import UUID

from bench import ours
from bench.tasks import GATHER, NOOP, Gather, Nothing
from shared.ledger.statement import Statement
from shared.workflows import wiring
from shared.workflows.shapes import chain as in_order
from shared.workflows.submission import WorkflowSubmitter
from shared.workflows.wiring import Graph
from shared.workflows.workflow import Workflow
from tests.platform import Platform

#: Number of workflows that are submitted in parallel, each on its own connection. After each batch,
#: the queued tasks are marked as sent.
BATCH = 4

UNFINISHED = Statement("SELECT EXISTS (SELECT FROM workflow WHERE completed_at IS NULL) AS any")
UNSUCCESSFUL = Statement("SELECT count(*) AS count FROM workflow WHERE status <> 'success'")


def chain(steps: int) -> Workflow:
    """Build a workflow of no-op steps that run one after another."""
    flow = Workflow("chain")
    in_order(*(flow.step(NOOP, Nothing()) for _ in range(steps)))
    return flow


def chord(members: int) -> Workflow:
    """Build a workflow of no-op tasks that run in parallel, and a body that gets their results."""
    flow = Workflow("chord")
    group = flow.group(NOOP, [Nothing()] * members, name="members")
    flow.step(GATHER, Gather(results=group.results), name="body")
    return flow


def submitter(platform: Platform) -> WorkflowSubmitter:
    return WorkflowSubmitter(platform.database, platform.submitter, platform.vault)


async def submit(platform: Platform, flow: Workflow | Graph, count: int = 1) -> list[UUID]:
    """Submit the same workflow `count` times. Returns the ids of the submitted workflows."""
    graph = wiring.compile(flow) if isinstance(flow, Workflow) else flow
    to = submitter(platform)
    ids: list[UUID] = []
    for start in range(0, count, BATCH):
        ids += await asyncio.gather(*(to.submit(graph) for _ in range(min(BATCH, count - start))))
        await platform.submitter.mark()
    return ids


async def finished(platform: Platform, timeout_s: float = 60) -> None:
    """Wait until every workflow has ended. Raises AssertionError when one has not succeeded."""
    async with asyncio.timeout(timeout_s):
        while True:
            (row,) = await platform.rows(UNFINISHED)
            if not row["any"]:
                break
            await asyncio.sleep(ours.ASK_EVERY_S)
    (row,) = await platform.rows(UNSUCCESSFUL)
    assert not row["count"], f"{row['count']} workflows did not succeed"
