"""Chooses the steps that run again when a workflow is retried. It consists of pure functions, which
use no clock and do no I/O.

`services.api.workflows.retries` refuses retries that are not allowed, and stores the choice;
`graph.plan` carries it out later.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from shared.workflows.states import State, Step


class Mode(StrEnum):
    """The mode of a retry: how much of the workflow runs again."""

    #: FAILED: only the tasks that did not succeed run again. Steps that were skipped wait again.
    FAILED = "failed"
    #: DOWNSTREAM: the steps that did not succeed run again, and every step that depends on them,
    #: even if it succeeded.
    DOWNSTREAM = "downstream"
    #: FROM: one given step runs again, and every step that depends on it.
    FROM = "from"
    #: ALL: every step runs again.
    ALL = "all"


class Handlers(StrEnum):
    """What a retry of a workflow does with failure handlers that have already run."""

    #: AGAIN: handlers that depend on steps which run again wait again, and run again if their
    #: condition is met.
    AGAIN = "again"
    #: KEEP: handlers are not touched and keep their state.
    KEEP = "keep"


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """The choice of the steps that a retry runs again. Steps are given by name, in the order of the
    workflow.
    """

    #: Steps whose tasks all run again, once the steps on which they depend have ended again.
    repeated: tuple[str, ...] = ()
    #: Steps of which only the unsuccessful tasks run again. They start immediately.
    mended: tuple[str, ...] = ()
    #: Steps that had been skipped and now wait again.
    waiting: tuple[str, ...] = ()
    #: Number of tasks in the steps of `repeated` and `mended` that will run again.
    tasks: int = 0
    #: Steps that would have to run again but have unfinished tasks. The retry is refused if there
    #: are any.
    unfinished: tuple[str, ...] = ()

    @property
    def steps(self) -> tuple[str, ...]:
        return (*self.repeated, *self.mended, *self.waiting)


#: The steps of a workflow by name.
Steps = Mapping[str, Step]


def has_run(step: Step) -> bool:
    """True if the step has begun in the current run of the workflow, so that it has tasks."""
    return step.state not in (State.WAITING, State.SKIPPED)


def handlers_that_ran(steps: Steps, *, but: str | None) -> list[str]:
    """Names of the failure handlers that have run, and may have compensated for a failure. `but`
    names a step to leave out, because it is the one to be retried.
    """
    found = (step for step in steps.values() if step.handler and has_run(step) and step.name != but)
    return [step.name for step in sorted(found, key=_position)]


def choose(steps: Steps, mode: Mode, start: str | None, handlers: Handlers | None) -> Choice:
    """Choose the steps that run again. `start` is the given step of Mode.FROM, and None for other
    modes. The choice is empty if no step has failed.
    """
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
    """Choose which steps wait again if a single task of a step runs again: the skipped steps and,
    if this is requested, the failure handlers.
    """
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
    """Names of the steps that depend on one of `roots`, directly or indirectly."""
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
