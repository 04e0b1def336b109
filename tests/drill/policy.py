"""A sequential model of workflows: what became of each step, from the outcomes of its tasks alone.

It shares no code with the planner, knows no order of ends, and reads each step after those that it needs.
Where a workflow was halted (canceled, late or stopped) a main step may have begun before that or not.
"""

from collections.abc import Mapping, Sequence

import msgspec

SUCCESS, FAILURE, REVOKED, SKIPPED = "success", "failure", "revoked", "skipped"


class Step(msgspec.Struct, kw_only=True):
    """What was submitted, how its tasks ended, and the verdict that is stored."""

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
    """What happened to a workflow as a whole, and the status that is stored."""

    status: str
    cancels: int
    late: bool
    stopped: bool

    @property
    def halted(self) -> bool:
        return self.cancels > 0 or self.late or self.stopped


def broken(flow: Flow, steps: Sequence[Step]) -> list[str]:
    """In words, what the model does not allow."""
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
    """Whether the step may have begun, and whether it may not have."""
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
    """A loss that is no failure triggers a handler or not: it depends on whether the halt came first."""
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
