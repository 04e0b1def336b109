"""Tests that the drill's own model of workflows agrees with the platform's planner, and notices
wrong outcomes.
"""

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.workflows.states import OnFailure, Step
from shared.workflows.wiring import compile
from tests.drill import flows, policy
from tests.unit.shared.workflows.played import Played
from tests.unit.shared.workflows.test_graph import step, workflows


def seen(played: Played) -> tuple[policy.Flow, list[policy.Step]]:
    """The rows of a simulated workflow and its steps, as they would be in the ledger."""
    flow = msgspec.convert(
        {**msgspec.structs.asdict(played.flow), "status": str(played.flow.status)}, policy.Flow
    )
    tasks = {name: step.size if name in played.released else 0 for name, step in played.steps.items()}
    rows = [{**msgspec.to_builtins(step), "tasks": tasks[step.name]} for step in played.steps.values()]
    return flow, msgspec.convert(rows, list[policy.Step])


@settings(max_examples=50)
@given(drawn=workflows(), order=st.integers())
def test_the_model_and_the_planner_agree_about_every_graph(
    drawn: tuple[list[Step], dict[str, list[str]]], order: int
) -> None:
    steps, outcomes = drawn
    played = Played(steps)
    played.run(outcomes, random.Random(order))
    assert policy.broken(*seen(played)) == []


@pytest.mark.parametrize("halt", [{"cancels": 1}, {"late": True}, {}])
@settings(max_examples=50)
@given(drawn=workflows(), order=st.integers(), after=st.integers(0, 6))
def test_they_agree_about_workflows_that_are_halted_at_some_moment(
    halt: dict[str, Any], drawn: tuple[list[Step], dict[str, list[str]]], order: int, after: int
) -> None:
    steps, outcomes = drawn
    played = Played(steps, on_failure=OnFailure.GO_ON if halt else OnFailure.STOP)
    for name, member in sorted(played.open)[:after]:
        played.end(**{name: outcomes[name][member]})
    if halt:
        played.news(**halt)
    played.run(outcomes, random.Random(order))
    assert policy.broken(*seen(played)) == []


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"state": "skipped"}, "body was skipped"),
    ({"tasks": 2}, "body has 2 tasks"),
    ({"state": "failure", "failed": 1, "succeeded": 0}, "it is success, not failure"),
]


@pytest.mark.parametrize(("changed", "message"), WRONG)
def test_what_is_wrong_is_found(changed: dict[str, Any], message: str) -> None:
    played = Played([step("header", size=2, sink=False), step("body", "header")])
    played.run({"header": ["success"] * 2, "body": ["success"]}, random.Random(7))
    flow, steps = seen(played)
    assert policy.broken(flow, steps) == []
    steps[1] = msgspec.structs.replace(steps[1], **changed)
    assert any(each.startswith(message) for each in policy.broken(flow, steps))


def test_every_shape_of_the_drill_compiles() -> None:
    mixed = list(flows.mixed(200, random.Random(7), over_s=60))
    assert {shape for shape, _ in mixed} == {shape.__name__ for shape in flows.SHAPES}
    assert all(compile(flow).steps for _, flow in mixed)
