"""Tests of which workflows a worker advances, and when."""

from collections.abc import Sequence
from typing import cast
from uuid import UUID

from services.worker.workflows.workflows import Workflows
from shared.workflows.advance import Advanced
from shared.workflows.advancer import Advancer

GROUP, OTHER = UUID(int=1), UUID(int=2)


class Counting:
    """A substitute for `advance`: it advances nothing, and reports a group with 10,000 open
    tasks.
    """

    def __init__(self) -> None:
        self.advanced: list[list[UUID]] = []

    async def advance(self, ids: Sequence[UUID]) -> Advanced:
        self.advanced.append(list(ids))
        return Advanced(open={id: 10_000 for id in ids if id == GROUP})


async def test_a_group_with_many_open_members_rests_while_other_workflows_go_on() -> None:
    advancer = Counting()
    workflows = Workflows(cast(Advancer, advancer))
    workflows.poke({GROUP})
    await workflows.run_once()
    workflows.poke({GROUP, OTHER})
    await workflows.run_once()
    await workflows.run_once()
    assert advancer.advanced == [[GROUP], [OTHER], [GROUP]]
