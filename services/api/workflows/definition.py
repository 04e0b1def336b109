"""Builds a workflow from the body of a request.

It uses the same builder as workflows that are written in Python, so the same rules apply.
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from services.api.workflows.schemas import StepBody, When, WorkflowBody
from shared.contracts.catalogue import Catalogue
from shared.errors import FieldProblem, UnknownTask
from shared.workflows import wiring
from shared.workflows.reference import Kind, Reference, fill
from shared.workflows.wiring import Graph
from shared.workflows.workflow import (
    ALL,
    ALWAYS,
    ANY,
    DEFAULT_DEADLINE,
    FAILED,
    Group,
    Node,
    Workflow,
    at_least,
)

RESULT, OUTCOME = "$from", "$outcome"
_JOINS = {When.ALL: ALL, When.ANY: ANY, When.ALWAYS: ALWAYS, When.FAILED: FAILED}


def compiled(body: WorkflowBody, catalogue: Catalogue, *, owner: int | None) -> Graph:
    """Build and check the workflow of a request.

    Raises InvalidFields, which names fields by their paths in the body.
    """
    wiring.refuse(
        problem for index, step in enumerate(body.steps) for problem in _of_step(index, step, catalogue)
    )
    flow = Workflow(
        body.name,
        deadline=DEFAULT_DEADLINE if body.deadline_s is None else timedelta(seconds=body.deadline_s),
        on_failure=body.on_failure,
        unique=body.unique,
        priority=body.priority,
        owner=owner,
    )
    for step in body.steps:
        _add(flow, step, catalogue)
    wiring.refuse(_link(flow, body))
    return wiring.compile(flow)


def _of_step(index: int, step: StepBody, catalogue: Catalogue) -> Iterator[FieldProblem]:
    try:
        catalogue.get(step.task)
    except UnknownTask as error:
        yield FieldProblem(f"steps[{index}].task", f"must be one of {', '.join(error.known)}")
    if (step.params is None) == (step.members is None):
        yield FieldProblem(f"steps[{index}].params", "must be given, or members, and not both")
    if (step.k is None) == (step.when is When.AT_LEAST):
        yield FieldProblem(f"steps[{index}].k", "must be given when `when` is at_least, and only then")
    if step.at_least is not None and step.first is not None:
        yield FieldProblem(f"steps[{index}].first", "must not be given together with at_least")
    if step.members is None and (step.at_least or step.first):
        yield FieldProblem(f"steps[{index}].at_least", "is for groups: give members instead of params")


def _add(flow: Workflow, step: StepBody, catalogue: Catalogue) -> None:
    contract = catalogue.get(step.task)
    later: Any = fill
    options: dict[str, Any] = {
        "name": step.step,
        "when": at_least(step.k or 0) if step.when is When.AT_LEAST else _JOINS[step.when],
        "priority": step.priority,
        "delay": None if step.delay_s is None else timedelta(seconds=step.delay_s),
    }
    if step.members is None:
        flow.step(contract, later(contract.params, **(step.params or {})), **options)
        return
    members = [later(contract.params, **params) for params in step.members]
    flow.group(contract, members, at_least=step.at_least, first=step.first, **options)


def _link(flow: Workflow, body: WorkflowBody) -> Iterator[FieldProblem]:
    """Connect the steps: replace step names by references to the steps. Yields a problem for each
    unknown name.
    """
    nodes = {node.name: node for node in flow.nodes}
    for index, (node, step) in enumerate(zip(flow.nodes, body.steps, strict=True)):
        for name in step.needs:
            if name in nodes:
                node.after.append(nodes[name])
            else:
                yield FieldProblem(f"steps[{index}].needs", f"{name!r} is no step of this workflow")
        for fields in node.members:
            for name, value in fields.items():
                try:
                    fields[name] = _value(value, nodes)
                except KeyError as error:
                    rule = f"{error.args[0]!r} is no step of this workflow"
                    yield FieldProblem(f"steps[{index}].params.{name}", rule)


def _value(value: Any, nodes: Mapping[str, Node]) -> Any:
    """Convert the value of a parameter. Raises KeyError if it names an unknown step.

    `$from` and `$outcome` become references to another step's result or outcome.
    """
    if isinstance(value, list) and any(is_reference(item) for item in value):
        return [_value(item, nodes) for item in value]
    if not is_reference(value):
        return value
    ((kind, text),) = value.items()
    name, *path = text.split(".")
    is_group = isinstance(nodes[name], Group)
    if kind == RESULT:
        return Reference(nodes[name], Kind.RESULTS if is_group else Kind.RESULT, tuple(path))
    return Reference(nodes[name], Kind.OUTCOMES if is_group else Kind.OUTCOME, tuple(path))


def is_reference(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and len(value) == 1
        and not value.keys().isdisjoint((RESULT, OUTCOME))
        and all(isinstance(text, str) for text in value.values())
    )
