"""Compiles a workflow: checks every rule that needs no clock and no database, and orders the steps.

Each error names the step and the field. A workflow that compiles without an error can be stored and
run unchanged.
"""

import heapq
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from shared.contracts.contract import HIGHEST_PRIORITY, LOWEST_PRIORITY, Contract
from shared.errors import MAX_DELAY, FieldProblem, InvalidFields
from shared.workflows import parameters
from shared.workflows.reference import Input
from shared.workflows.states import OnFailure, Rule, Step
from shared.workflows.workflow import Node, Workflow

MAX_STEPS = 1_000
MAX_MEMBERS = 10_000
MAX_TASKS = 100_000
MAX_UNIQUE_CHARS = 255

_FLOW_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,99}")
_STEP_NAME = re.compile(r"[a-z][a-z0-9_-]{0,99}")

HANDLERS = (Rule.ALWAYS, Rule.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphStep:
    """A step of a compiled workflow. It has passed all checks."""

    step: Step
    contract: Contract[Any, Any]
    grouped: bool
    priority: int
    delay: timedelta
    #: The constant parameters of each task of the step, as JSON text. Sensitive fields are not
    #: encrypted yet.
    params: tuple[str, ...]
    #: The parameters that come from other steps, by name. They are the same for each task of the
    #: step.
    inputs: Mapping[str, Input]


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """A compiled workflow. It has passed all checks, and each step comes after the steps on which
    it depends.
    """

    name: str
    owner: int | None
    deadline: timedelta
    on_failure: OnFailure
    unique: str | None
    steps: tuple[GraphStep, ...]


def compile(flow: Workflow) -> Graph:
    """Check a workflow and order its steps. Raises InvalidFields if it breaks a rule."""
    refuse(_of_flow(flow))
    refuse(_of_names(flow.nodes))
    wired = {node.name: parameters.wired(node) for node in flow.nodes}
    needs = {node.name: _needs(node, wired[node.name]) for node in flow.nodes}
    refuse(problem for i, node in enumerate(flow.nodes) for problem in _of_step(i, node, needs[node.name]))
    refuse(
        FieldProblem(f"steps[{index}].{problem.field}", f"step {node.name!r}: {problem.rule}")
        for index, node in enumerate(flow.nodes)
        for problem in parameters.problems(node, wired[node.name])
    )
    ordered = _ordered(flow.nodes, needs)
    return Graph(
        name=flow.name,
        owner=flow.owner,
        deadline=flow.deadline,
        on_failure=flow.failure_policy,
        unique=flow.unique,
        steps=tuple(_steps(flow, ordered, needs, wired)),
    )


def refuse(problems: Iterable[FieldProblem]) -> None:
    """Raise InvalidFields if there are any problems."""
    if found := list(problems):
        raise InvalidFields(found)


def _of_flow(flow: Workflow) -> Iterator[FieldProblem]:
    if not _FLOW_NAME.fullmatch(flow.name):
        yield FieldProblem("name", "must be 1 to 100 of a-z, 0-9, '_', '.' and '-', and begin with a letter")
    if not timedelta(0) < flow.deadline <= MAX_DELAY:
        yield FieldProblem("deadline_s", "must be more than 0 and at most 366 days")
    unique = flow.unique
    if unique is not None and not (0 < len(unique) <= MAX_UNIQUE_CHARS and unique.isprintable()):
        yield FieldProblem("unique", f"must be 1 to {MAX_UNIQUE_CHARS} printable characters")
    if not 0 < len(flow.nodes) <= MAX_STEPS:
        yield FieldProblem("steps", f"must be 1 to {MAX_STEPS:,}, not {len(flow.nodes):,}")
    tasks = sum(len(node.members) for node in flow.nodes)
    if tasks > MAX_TASKS:
        yield FieldProblem("steps", f"must have at most {MAX_TASKS:,} tasks together, not {tasks:,}")
    if not _is_priority(flow.priority):
        yield FieldProblem("priority", "must be between 0 and 9; 9 is served first")


def _of_names(nodes: list[Node]) -> Iterator[FieldProblem]:
    counts = Counter(node.name for node in nodes)
    for index, node in enumerate(nodes):
        if not _STEP_NAME.fullmatch(node.name):
            rule = "must be 1 to 100 of a-z, 0-9, '_' and '-', and begin with a letter"
            yield FieldProblem(f"steps[{index}].step", f"step {node.name!r}: {rule}")
        elif counts[node.name] > 1:
            rule = f"{counts[node.name]} steps have this name"
            yield FieldProblem(f"steps[{index}].step", f"step {node.name!r}: {rule}")


def _needs(node: Node, inputs: Mapping[str, Input]) -> tuple[str, ...]:
    """Names of the steps on which a step depends: those in `after`, and those from which it reads
    values.
    """
    sources = (source.step for each in inputs.values() for source in each.sources)
    return tuple(dict.fromkeys([*(each.name for each in node.after), *sources]))


def _of_step(index: int, node: Node, needs: tuple[str, ...]) -> Iterator[FieldProblem]:
    for field, rule in [*_of_join(node, needs), *_of_members(node), *_of_options(node)]:
        yield FieldProblem(f"steps[{index}].{field}", f"step {node.name!r}: {rule}")


def _of_join(node: Node, needs: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for each in node.after:
        if each.flow is not node.flow:
            yield "needs", f"needs {each.name!r}, which is a step of another workflow"
    if node.when.rule is Rule.AT_LEAST and not 0 < node.when.k <= len(needs):
        yield "when", f"must ask for 1 to {len(needs)} of the steps that it needs, not {node.when.k}"
    if node.when.rule in HANDLERS and not needs:
        yield "needs", f"must name at least one step when its rule is {node.when.rule}"


def _of_members(node: Node) -> Iterator[tuple[str, str]]:
    size = len(node.members)
    if size > MAX_MEMBERS:
        yield "params", f"must have at most {MAX_MEMBERS:,} members, not {size:,}"
    if node.enough is not None and not 0 < node.enough <= size:
        field = "first" if node.first else "at_least"
        yield field, f"must be between 1 and the number of members, {size}, not {node.enough}"


def _of_options(node: Node) -> Iterator[tuple[str, str]]:
    if not _is_priority(node.priority):
        yield "priority", "must be between 0 and 9; 9 is served first"
    if node.delay is not None and not timedelta(0) <= node.delay <= MAX_DELAY:
        yield "delay_s", "must be between 0 and 366 days"


def _is_priority(priority: int | None) -> bool:
    return priority is None or LOWEST_PRIORITY <= priority <= HIGHEST_PRIORITY


def _ordered(nodes: list[Node], needs: Mapping[str, tuple[str, ...]]) -> list[Node]:
    """Sort the steps so that each one comes after those on which it depends. Apart from that, their
    order is kept. Raises InvalidFields if steps depend on each other in a cycle.
    """
    index = {node.name: number for number, node in enumerate(nodes)}
    missing = {name: len(each) for name, each in needs.items()}
    ready = [index[name] for name, count in missing.items() if not count]
    following = _following(needs)
    ordered: list[Node] = []
    while ready:
        node = nodes[heapq.heappop(ready)]
        ordered.append(node)
        for name in following[node.name]:
            missing[name] -= 1
            if not missing[name]:
                heapq.heappush(ready, index[name])
    rest = [name for name, count in missing.items() if count]
    if rest:
        rule = f"must not need each other in a circle: {', '.join(sorted(rest))}"
        raise InvalidFields([FieldProblem("steps", rule)])
    return ordered


def _following(needs: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
    following: dict[str, list[str]] = {name: [] for name in needs}
    for name, each in needs.items():
        for need in each:
            following[need].append(name)
    return following


def _steps(
    flow: Workflow,
    ordered: list[Node],
    needs: Mapping[str, tuple[str, ...]],
    wired: Mapping[str, Mapping[str, Input]],
) -> Iterator[GraphStep]:
    following = _following(needs)
    handlers: set[str] = set()
    for node in ordered:
        if node.when.rule in HANDLERS or handlers.intersection(needs[node.name]):
            handlers.add(node.name)
    for position, node in enumerate(ordered):
        size = len(node.members)
        step = Step(
            name=node.name,
            position=position,
            needs=needs[node.name],
            next=tuple(following[node.name]),
            rule=node.when.rule,
            k=node.when.k,
            size=size,
            enough=size if node.enough is None else node.enough,
            first=node.first,
            handler=node.name in handlers,
            sink=node.name not in handlers and handlers.issuperset(following[node.name]),
        )
        yield GraphStep(
            step=step,
            contract=node.contract,
            grouped=node.grouped,
            priority=_priority(flow, node),
            delay=node.delay or timedelta(0),
            params=tuple(parameters.constants(node, wired[node.name])),
            inputs=wired[node.name],
        )


def _priority(flow: Workflow, node: Node) -> int:
    given = (each for each in (node.priority, flow.priority) if each is not None)
    return next(given, node.contract.priority)
