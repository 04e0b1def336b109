"""Chooses what a retry of a workflow starts again. Pure: no clock, no I/O.

`services.api.workflows.retries` refuses what may not be, and notes the choice; `graph.plan` carries it out.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from shared.workflows.states import State, Step


class Mode(StrEnum):
    """How much of a workflow runs again."""

    #: Tasks that did not succeed; steps that were skipped wait again.
    FAILED = "failed"
    #: These, and every step below them, including those that succeeded.
    DOWNSTREAM = "downstream"
    #: One step, and every step below it.
    FROM = "from"
    #: Every step.
    ALL = "all"


class Handlers(StrEnum):
    """What becomes of handlers that have run."""

    #: Handlers below steps that run again are judged again: they run again where their rule says so.
    AGAIN = "again"
    #: They stay as they are.
    KEEP = "keep"


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What runs again; names of steps in the order of the workflow."""

    #: All their tasks run again, once what these steps need has ended again.
    repeated: tuple[str, ...] = ()
    #: Only the tasks of these steps that did not succeed run again, at once.
    mended: tuple[str, ...] = ()
    #: They were skipped, and wait again.
    waiting: tuple[str, ...] = ()
    #: Tasks of `repeated` and `mended` that are to run again.
    tasks: int = 0
    #: Steps that would have to be repeated, but of which tasks have not ended: nothing may be done.
    unfinished: tuple[str, ...] = ()

    @property
    def steps(self) -> tuple[str, ...]:
        return (*self.repeated, *self.mended, *self.waiting)


#: By name.
Steps = Mapping[str, Step]


def has_run(step: Step) -> bool:
    """Whether tasks of the step count in this run."""
    return step.state not in (State.WAITING, State.SKIPPED)


def handlers_that_ran(steps: Steps, *, but: str | None) -> list[str]:
    """Handlers that may have made up for a failure, except for the step that is retried itself."""
    found = (step for step in steps.values() if step.handler and has_run(step) and step.name != but)
    return [step.name for step in sorted(found, key=_position)]


def choose(steps: Steps, mode: Mode, start: str | None, handlers: Handlers | None) -> Choice:
    """What runs again; `start` is the step of Mode.FROM. An empty choice when nothing has failed."""
    roots = _roots(steps, mode, start)
    below = _below(steps, roots)
    whole = {Mode.FAILED: set[str](), Mode.DOWNSTREAM: below, Mode.FROM: roots | below, Mode.ALL: roots}[mode]
    if handlers is Handlers.AGAIN:
        whole = whole | {name for name in below if steps[name].handler}
    else:
        whole = {name for name in whole if name == start or not steps[name].handler}
    mended = roots - whole if mode in (Mode.FAILED, Mode.DOWNSTREAM) else set[str]()
    anywhere = bool(roots) and mode is not Mode.FROM
    return _choice(steps, whole, mended, set(steps) if anywhere else roots | below)


def choose_for_task(steps: Steps, step: str, handlers: Handlers | None) -> Choice:
    """What follows when one task of a step runs again: skipped steps wait again, and handlers perhaps."""
    again = {name for name in _below(steps, {step}) if steps[name].handler}
    return _choice(steps, again if handlers is Handlers.AGAIN else set(), set(), set(steps))


def _roots(steps: Steps, mode: Mode, start: str | None) -> set[str]:
    match mode:
        case Mode.FROM:
            return {start} if start is not None else set()
        case Mode.ALL:
            return set(steps)
    return {step.name for step in steps.values() if step.lost and not step.handler}


def _below(steps: Steps, roots: Iterable[str]) -> set[str]:
    """Every step that needs one of `roots`, directly or not."""
    found: set[str] = set()
    left = list(roots)
    while left:
        new = set(steps[left.pop()].next) - found
        found |= new
        left += new
    return found


def _choice(steps: Steps, whole: set[str], mended: set[str], waiting: set[str]) -> Choice:
    ordered = sorted(steps.values(), key=_position)
    repeated = [step for step in ordered if step.name in whole and has_run(step)]
    lost = [step for step in ordered if step.name in mended and has_run(step)]
    return Choice(
        repeated=tuple(step.name for step in repeated),
        mended=tuple(step.name for step in lost),
        waiting=tuple(step.name for step in ordered if _is_skipped(step) and step.name in waiting),
        tasks=sum(step.size for step in repeated) + sum(step.missing for step in lost),
        unfinished=tuple(step.name for step in repeated if step.open),
    )


def _is_skipped(step: Step) -> bool:
    return step.state is State.SKIPPED


def _position(step: Step) -> int:
    return step.position
