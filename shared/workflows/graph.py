"""Decides what follows when tasks of a workflow end. Pure: no clock, no I/O.

docs/workflows.md has the table that this module carries out.
"""

from collections.abc import Iterable, Mapping

import msgspec

from shared.workflows.states import Ended, Flow, OnFailure, Rule, State, Step


class News(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that happened to a workflow since the last decision."""

    #: By step.
    ended: Mapping[str, Ended] = {}
    cancels: int = 0
    late: bool = False
    #: An operator started tasks again: what was skipped is judged again.
    reopened: bool = False
    #: Steps that a retry of the workflow lets wait again, with all their tasks.
    repeated: frozenset[str] = frozenset()

    @property
    def runs_again(self) -> bool:
        """True when an operator started a part of the workflow again."""
        return self.reopened or bool(self.repeated)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What follows from the news."""

    flow: Flow
    #: Steps as they are from here on.
    changed: tuple[Step, ...] = ()
    #: Steps whose tasks begin to exist.
    released: tuple[str, ...] = ()
    #: Steps of which all tasks begin again.
    repeated: tuple[str, ...] = ()
    #: Steps whose open members are canceled.
    cancelled: tuple[str, ...] = ()


class Incomplete(Exception):
    """The decision needs steps that it was not given; it has to be made again over all of them."""


def plan(flow: Flow, steps: Iterable[Step], news: News, *, complete: bool) -> Plan:
    """Decide what follows from the news.

    `steps` holds the steps that the news name, the steps that need these, and what those need; with
    `complete`, all steps. Raises Incomplete.
    """
    return _Decision(flow, steps, news, complete).made()


class _Decision:
    """One call of `plan`."""

    def __init__(self, flow: Flow, steps: Iterable[Step], news: News, complete: bool) -> None:
        self._before = {step.name: step for step in steps}
        self._now = dict(self._before)
        self._flow = flow
        self._was_stopped = flow.stopped
        self._news = news
        self._complete = complete
        self._released: list[str] = []
        self._repeated: list[str] = []
        self._cancelled: set[str] = set()

    def made(self) -> Plan:
        for name, ended in self._news.ended.items():
            if name in self._now and name not in self._news.repeated:
                self._count(name, ended)
        if self._news.runs_again:
            self._wait_again()
        self._halt()
        for name in sorted(self._now, key=lambda name: self._now[name].position):
            if self._now[name].state is State.WAITING:
                self._decide(self._now[name])
        self._refuse_gaps()
        return self._plan()

    def _count(self, name: str, ended: Ended) -> None:
        step = self._now[name].counted(ended)
        self._now[name] = step
        if step.first and step.state is State.SUCCESS and step.open:
            self._cancelled.add(name)
        if self._flow.on_failure is OnFailure.STOP and step.lost and not step.handler:
            self._flow = msgspec.structs.replace(self._flow, stopped=True)

    def _wait_again(self) -> None:
        """Let what is repeated wait, and what was skipped be judged again."""
        self._require_all()
        for name, step in self._now.items():
            was_skipped = self._news.reopened and step.state is State.SKIPPED
            if was_skipped or name in self._news.repeated:
                self._now[name] = step.waiting_again()

    def _halt(self) -> None:
        """Note that the workflow may not go on, and cancel what runs, except for handlers."""
        news, flow = self._news, self._flow
        if not (flow.open_steps or news.runs_again):
            return  # it had ended before
        # Requests that arrive together are one: a client that repeats itself must not end handlers.
        cancels = flow.cancels + (news.cancels > 0)
        self._flow = msgspec.structs.replace(flow, cancels=cancels, late=flow.late or news.late)
        if news.cancels or news.late or (flow.stopped and not self._was_stopped):
            self._require_all()
            self._cancelled.update(step.name for step in self._now.values() if self._is_ended(step))

    def _is_ended(self, step: Step) -> bool:
        return step.open and step.state is not State.WAITING and self._ends(step)

    def _ends(self, step: Step) -> bool:
        """Whether the halt of the workflow reaches this step."""
        return self._flow.halted and (not step.handler or self._flow.cancels > 1)

    def _decide(self, step: Step) -> None:
        if self._ends(step):
            self._skip(step)
            return
        if any(name not in self._now for name in step.needs):
            return  # none of them has changed, or `_refuse_gaps` finds out
        match self._ready(step):
            case True:
                self._release(step)
            case False:
                self._skip(step)

    def _ready(self, step: Step) -> bool | None:
        """True: it begins; False: it never will; None: it waits."""
        needs = [self._now[name] for name in step.needs]
        match step.rule:
            case Rule.ALWAYS:
                return None if any(need.open for need in needs) else True
            case Rule.FAILED:
                if any(self._triggers(need) for need in needs):
                    return True
                undecided = (State.WAITING, State.RUNNING)
                return None if any(need.state in undecided for need in needs) else False
            case _:
                wanted = step.k if step.rule is Rule.AT_LEAST else len(needs)
                if sum(need.state is State.SUCCESS for need in needs) >= wanted:
                    return True
                return False if sum(need.lost for need in needs) > len(needs) - wanted else None

    def _triggers(self, need: Step) -> bool:
        """Whether the end of `need` starts the handler of its failure."""
        match need.state:
            case State.FAILURE:
                return True
            case State.REVOKED:
                return not self._flow.cancels
            case State.SKIPPED:
                return self._flow.late and not self._flow.cancels
        return False

    def _release(self, step: Step) -> None:
        judged = step.judged()  # an empty group succeeds at once
        self._now[step.name] = msgspec.structs.replace(judged, begun=step.size > 0)
        if step.size:
            (self._repeated if step.begun else self._released).append(step.name)

    def _skip(self, step: Step) -> None:
        self._now[step.name] = msgspec.structs.replace(step, state=State.SKIPPED)

    def _refuse_gaps(self) -> None:
        """Raises Incomplete when a step changed whose consequences cannot be seen."""
        if self._complete:
            return
        for name, step in self._now.items():
            before = self._before[name]
            if step.state is State.RUNNING or (step.state, step.open) == (before.state, before.open):
                continue
            if any(each not in self._now or self._is_blind(self._now[each]) for each in step.next):
                raise Incomplete

    def _is_blind(self, step: Step) -> bool:
        waits = step.state is State.WAITING
        return waits and any(name not in self._now for name in step.needs)

    def _require_all(self) -> None:
        if not self._complete:
            raise Incomplete

    def _plan(self) -> Plan:
        changed = [(self._before[name], self._now[name]) for name in sorted(self._now)]
        # A step that is repeated before its end was counted looks as before, but its tasks begin again.
        again = set(self._repeated)
        changed = [(before, step) for before, step in changed if step != before or step.name in again]
        opened = sum(step.open - before.open for before, step in changed)
        lost = sum(step.is_loss - before.is_loss for before, step in changed)
        flow = self._flow
        return Plan(
            flow=msgspec.structs.replace(
                flow, open_steps=flow.open_steps + opened, losses=flow.losses + lost
            ),
            changed=tuple(step for _, step in changed),
            released=tuple(self._released),
            repeated=tuple(self._repeated),
            cancelled=tuple(sorted(self._cancelled)),
        )
