"""A simple model of workflows for tests. It derives the state that each step should have from the
outcomes of its tasks alone.

It shares no code with the planner (`shared.workflows.graph`). It ignores the order in which tasks
ended, and evaluates each step after those on which it depends. If a workflow was canceled, late or
stopped, a step may or may not have begun before that, so the model allows both.
"""

from collections.abc import Mapping, Sequence

import msgspec

SUCCESS, FAILURE, REVOKED, SKIPPED = "success", "failure", "revoked", "skipped"


class Step(msgspec.Struct, kw_only=True):
    """A step of a workflow as stored: how its tasks ended, and its state."""

    name: str
    position: int
    needs: Sequence[str]
    rule: str
    k: int
    size: int
    enough: int
    handler: bool
    sink: bool
    state: str
    tasks: int
    succeeded: int
    failed: int


class Flow(msgspec.Struct, kw_only=True):
    """A workflow as stored: its status, and whether it was canceled, late or stopped."""

    status: str
    cancels: int
    late: bool
    stopped: bool

    @property
    def halted(self) -> bool:
        return self.cancels > 0 or self.late or self.stopped


def broken(flow: Flow, steps: Sequence[Step]) -> list[str]:
    """Describe everything in a stored workflow that contradicts the model."""
    found: list[str] = []
    verdicts: dict[str, str] = {}
    for step in sorted(steps, key=lambda step: step.position):
        verdicts[step.name] = _verdict(step)
        allowed = _beginnings(flow, step, verdicts)
        begun = step.state != SKIPPED
        if begun not in allowed:
            found.append(f"{step.name} {'began' if begun else 'was skipped'}")
        if step.tasks != (step.size if begun else 0):
            found.append(f"{step.name} has {step.tasks} tasks")
        if step.state != verdicts[step.name]:
            found.append(f"{step.name} is {step.state}, not {verdicts[step.name]}")
    status = _status(flow, steps)
    return found if flow.status == status else [*found, f"it is {flow.status}, not {status}"]


def _verdict(step: Step) -> str:
    if step.state == SKIPPED:
        return SKIPPED
    if step.succeeded >= step.enough:
        return SUCCESS
    return FAILURE if step.failed else REVOKED


def _beginnings(flow: Flow, step: Step, verdicts: Mapping[str, str]) -> set[bool]:
    """The allowed answers to the question whether the step has begun: {True}, {False} or both."""
    needs = [verdicts[name] for name in step.needs]
    if step.rule == "failed":
        begins = _handles(flow, needs)
    elif step.rule == "always":
        begins = {True}
    else:
        begins = {needs.count(SUCCESS) >= (step.k if step.rule == "at_least" else len(needs))}
    spared = step.handler and flow.cancels < 2
    return begins if spared or not flow.halted else begins | {False}


def _handles(flow: Flow, needs: Sequence[str]) -> set[bool]:
    """The allowed answers to the question whether a failure handler has begun: {True}, {False} or
    both.

    A step that was canceled or skipped also triggers the handler, unless the workflow was canceled
    before that, which the model cannot see.
    """
    if FAILURE in needs:
        return {True}
    if REVOKED in needs:
        return {True, False} if flow.cancels else {True}
    return {True, False} if SKIPPED in needs and flow.late else {False}


def _status(flow: Flow, steps: Sequence[Step]) -> str:
    if flow.cancels:
        return REVOKED
    lost = any(_is_loss(step) for step in steps)
    return FAILURE if flow.late or lost else SUCCESS


def _is_loss(step: Step) -> bool:
    if step.handler:
        return step.state in (FAILURE, REVOKED)
    return step.sink and step.state != SUCCESS
