"""Tests that chains, groups and chords pass on each result in order, and store no more steps than
the code defines.
"""

from typing import Any

import pytest

from shared.testing import Task
from shared.workflow_testing import run_workflow_inline
from shared.workflows.reference import PREVIOUS
from shared.workflows.shapes import chain, chord, group
from shared.workflows.wiring import compile
from shared.workflows.workflow import Shape, Step, Workflow
from tests.sample_tasks import ADD, COUNT, INSTANT, Counted, Nothing, Number, Numbers, add, count, instant

TASKS: list[Task[Any, Any]] = [add, count, instant]


def number(flow: Workflow, value: int) -> Step[Counted]:
    return flow.step(COUNT, Number(value=value), name=f"number_{value}")


def joined(flow: Workflow, name: str) -> Step[Counted]:
    return flow.step(ADD, Numbers(values=PREVIOUS), name=name)


@pytest.mark.parametrize("size", [0, 1, 3])
async def test_a_body_gets_a_list_whatever_the_size_of_its_group(size: int) -> None:
    flow = Workflow("chord")
    chord(group(*(number(flow, value) for value in range(1, size + 1))), joined(flow, "of_steps"))
    many = flow.group(COUNT, [Number(value=value) for value in range(1, size + 1)], name="many")
    chord(many, joined(flow, "of_members"))
    run = await run_workflow_inline(flow, TASKS)
    expected = {"value": int("123"[:size] or "0")}
    assert (run.result("of_steps"), run.result("of_members")) == (expected, expected)


@pytest.mark.parametrize("empty", ["shape", "members"])
async def test_an_empty_group_inside_a_chain_is_passed_through(empty: str) -> None:
    flow = Workflow("chain")
    first = number(flow, 7)
    nothing = group() if empty == "shape" else flow.group(INSTANT, [], name="nothing")
    last = flow.step(INSTANT, Nothing(), name="last")
    chain(first, nothing, last, flow.step(COUNT, Number(value=first.result.value), name="after"))
    run = await run_workflow_inline(flow, TASKS)
    assert (run.status, run.result("after")) == ("success", {"value": 7})
    assert {step.step.name: step.step.needs for step in compile(flow).steps}["last"] != ()


async def test_chains_of_a_group_get_what_precedes_it_and_pass_on_their_own_results() -> None:
    flow = Workflow("chains")
    before = group(number(flow, 1), number(flow, 2))
    chains = [
        chain(joined(flow, f"head_{each}"), group(number(flow, each)), joined(flow, f"tail_{each}"))
        for each in (3, 4)
    ]
    chain(before, group(*chains), joined(flow, "body"))
    run = await run_workflow_inline(flow, TASKS)
    assert [run.result(name)["value"] for name in ("head_3", "head_4", "body")] == [12, 12, 34]


def nested(flow: Workflow, depth: int) -> Shape | Step[Counted]:
    inner = nested(flow, depth - 1) if depth else number(flow, 0)
    return chord(group(inner, number(flow, depth + 1)), joined(flow, f"body_{depth}"))


def test_a_chord_in_a_chord_in_a_chord_stores_each_step_once() -> None:
    depth = 300
    flow = Workflow("deep")
    nested(flow, depth)
    steps = compile(flow).steps
    assert len(steps) == 2 * (depth + 1) + 1
    assert sum(len(each.step.needs) + sum(map(len, each.params)) for each in steps) < 20 * len(steps)
