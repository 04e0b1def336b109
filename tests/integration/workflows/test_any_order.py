"""Tests random workflows with random events in random order: the counts stay right, and every
workflow ends.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.api.workflows.schemas import RetryBody
from shared.ledger.database import Database
from shared.submission import Submitter
from shared.transport.queues import Queues
from shared.vault import Vault
from shared.workflows.retry import Handlers, Mode
from shared.workflows.submission import WorkflowSubmitter
from shared.workflows.workflow import ALL, ALWAYS, ANY, FAILED, GO_ON, STOP, Workflow, at_least
from tests.integration.workflows.crew import WAITING, Crew, emptied
from tests.sample_tasks import INSTANT, Nothing

OUTCOMES = ("success", "success", "success", "failure", "revoked", "retry", "pending")


class NoQueues(Queues):
    """Queues without Redis. Nothing is pushed, because these tests claim the tasks directly."""

    def __init__(self) -> None:
        self.system = None  # without the id of the system, no change is published

    async def push(self, addresses: Any, **_: Any) -> None:
        pass


def drawn(chance: random.Random) -> Workflow:
    """Draw a workflow of up to seven steps."""
    flow = Workflow("random", on_failure=chance.choice([GO_ON, STOP]))
    for number in range(chance.randint(1, 7)):
        after = chance.sample(flow.nodes, chance.randint(0, min(3, len(flow.nodes))))
        when = chance.choice([ALL, ALL, ALL, ANY, at_least(len(after)), ALWAYS, FAILED]) if after else ALL
        size = chance.choice([1, 1, 0, 2, 4])
        limits: dict[str, Any] = (
            {chance.choice(["at_least", "first"]): chance.randint(1, size)} if size else {}
        )
        if chance.random() < 0.5:
            flow.step(INSTANT, Nothing(), name=f"s{number}", after=after, when=when)
        else:
            flow.group(INSTANT, [Nothing()] * size, name=f"s{number}", after=after, when=when, **limits)
    return flow


class Play:
    """One random example: workflows, and events that happen to them."""

    def __init__(self, database: Database, chance: random.Random) -> None:
        self._chance = chance
        self._crew = Crew(database)
        self._submitter = WorkflowSubmitter(database, Submitter(database, NoQueues(), Vault()), Vault())
        self._flows: list[UUID] = []

    async def run(self) -> None:
        await self._crew.begin()
        await self._submit()
        for _ in range(self._chance.randint(5, 40)):
            await self._chance.choice(self._rules)()
            await self._crew.check()
        await self._finish()

    async def _finish(self) -> None:
        """Let all tasks run and end, and check that every workflow then ends."""
        for _ in range(60):
            await self._crew.claim(task["id"] for task in await self._crew.tasks(WAITING))
            held = await self._crew.tasks("holder IS NOT NULL")
            await self._crew.end(held, [self._chance.choice(OUTCOMES[:5]) for _ in held])
            await self._crew.advance()
            await self._crew.check()
            if not await self._crew.run("SELECT 1 FROM workflow WHERE completed_at IS NULL"):
                assert not await self._crew.tasks("completed_at IS NULL")
                return
        raise AssertionError("a workflow does not end")

    @property
    def _rules(self) -> list[Callable[[], Awaitable[None]]]:
        often = [self._claim, self._end, self._end, self._advance]
        rare = [self._submit, self._complete, self._die, self._expire, self._cancel, self._retry, self._twice]
        whole = [self._cancel_workflow, self._retry_workflow, self._retry_workflow, self._deadline]
        return [*often, *often, *rare, *whole, self._stale, self._cut_off]

    async def _submit(self) -> None:
        if len(self._flows) < 3:
            self._flows.append(await self._submitter.submit(drawn(self._chance)))

    async def _some(self, where: str, most: int = 5) -> list[dict[str, Any]]:
        found = await self._crew.tasks(where)
        return self._chance.sample(found, min(len(found), self._chance.randint(1, most)))

    async def _claim(self) -> None:
        await self._crew.claim(task["id"] for task in await self._some(WAITING, 20))

    async def _end(self) -> None:
        held = await self._some("holder IS NOT NULL", 20)
        await self._crew.end(held, [self._chance.choice(OUTCOMES) for _ in held])

    async def _twice(self) -> None:
        held = await self._some("holder IS NOT NULL")
        for _ in range(2):
            await self._crew.end(held, ["success"] * len(held))

    async def _stale(self) -> None:
        held = await self._some("holder IS NOT NULL")
        await self._crew.end([{**task, "claim": task["claim"] - 1} for task in held], ["success"] * len(held))

    async def _complete(self) -> None:
        for task in await self._some("holder IS NOT NULL", 1):
            await self._crew.complete(task)

    async def _die(self) -> None:
        await self._crew.die(crash_limit=self._chance.randint(1, 3))

    async def _expire(self) -> None:
        for task in await self._some(WAITING, 1):
            await self._crew.expire(task)

    async def _cancel(self) -> None:
        for task in await self._some("completed_at IS NULL", 2):
            await self._crew.cancel(task)

    async def _retry(self) -> None:
        for task in await self._some("status IN ('failure', 'revoked')", 2):
            await self._crew.retry(task, self._chance.choice([*Handlers]))

    async def _cancel_workflow(self) -> None:
        await self._crew.cancel_workflow(self._chance.choice(self._flows))

    async def _retry_workflow(self) -> None:
        """Retry a random workflow in a random mode.

        The process that carries the retry out may die, or not run at all.
        """
        flow, mode = self._chance.choice(self._flows), self._chance.choice([*Mode])
        steps = [step.name for step in await self._crew.steps(flow)]
        start = self._chance.choice(steps) if mode is Mode.FROM else None
        handlers = self._chance.choice([None, *Handlers])
        accepted = await self._crew.retry_workflow(flow, RetryBody(mode=mode, step=start, handlers=handlers))
        await self._crew.check()
        if accepted:
            assert not await self._crew.retry_workflow(flow, RetryBody(mode=Mode.ALL)), "it is about to begin"
            await self._chance.choice([self._crew.advance, self._crew.advance_cut_off, self._nothing])()

    async def _deadline(self) -> None:
        await self._crew.pass_deadline(self._chance.choice(self._flows))

    async def _nothing(self) -> None:
        pass

    async def _advance(self) -> None:
        await self._crew.advance()

    async def _cut_off(self) -> None:
        await self._crew.advance_cut_off()


async def play(url: str, chance: random.Random) -> None:
    await emptied(url)
    database = Database.for_service(url, "scheduler", by_index=True)
    await database.open(size=3)
    try:
        await Play(database, chance).run()
    finally:
        await database.close()


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(chance=st.randoms(use_true_random=False))
def test_counts_are_true_and_every_workflow_ends(database_url: str, chance: random.Random) -> None:
    asyncio.run(play(database_url, chance))
