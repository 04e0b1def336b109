"""Decides what follows in a workflow when its tasks end: which steps begin, are skipped or are
canceled. It uses no clock and does no I/O.

docs/workflows.md contains the table of rules that this module implements.
"""

from collections.abc import Iterable, Mapping

import msgspec

from shared.workflows.states import Ended, Flow, OnFailure, Rule, State, Step


class News(msgspec.Struct, frozen=True, kw_only=True):
    """The events of a workflow since the last decision, combined."""

    #: Numbers of tasks that ended, by the name of their step.
    ended: Mapping[str, Ended] = {}
    cancels: int = 0
    late: bool = False
    #: True if an operator let tasks run again. Skipped steps are then decided again.
    reopened: bool = False
    #: Steps that a retry of the workflow resets to waiting. All their tasks will run again.
    repeated: frozenset[str] = frozenset()

    @property
    def runs_again(self) -> bool:
        """True if an operator has restarted a part of the workflow."""
        return self.reopened or bool(self.repeated)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A decision: the changes that follow from the new events of a workflow."""

    flow: Flow
    #: Steps that change, in their new state.
    changed: tuple[Step, ...] = ()
    #: Names of steps that begin, so that their tasks must be created.
    released: tuple[str, ...] = ()
    #: Names of steps that begin again, so that all their existing tasks must run again.
    repeated: tuple[str, ...] = ()
    #: Names of steps whose unfinished tasks must be canceled.
    cancelled: tuple[str, ...] = ()


class Incomplete(Exception):
    """Raised if a decision needs steps that were not loaded. It has to be repeated with all steps
    of the workflow.
    """


def plan(flow: Flow, steps: Iterable[Step], news: News, *, complete: bool) -> Plan:
    """Decide what follows from the new events of a workflow.

    If `complete` is set, `steps` contains all steps of the workflow. Otherwise, it contains only
    the steps that the events name, the steps that depend on those, and the other dependencies of
    these. Raises Incomplete.
    """
    return _Decision(flow, steps, news, complete).made()


class _Decision:
    """The working state of one call of `plan`."""

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
        """Reset the steps that run again to waiting, and skipped steps too, so that they are
        decided again.
        """
        self._require_all()
        for name, step in self._now.items():
            was_skipped = self._news.reopened and step.state is State.SKIPPED
            if was_skipped or name in self._news.repeated:
                self._now[name] = step.waiting_again()

    def _halt(self) -> None:
        """Record that the workflow is canceled, too late or stopped, and cancel its running steps
        except failure handlers.
        """
        news, flow = self._news, self._flow
        if not (flow.open_steps or news.runs_again):
            return  # a workflow that has already ended cannot be halted
        # Cancel requests that arrive together count as one. Only a second cancel request cancels
        # failure handlers, and a client that merely repeats its request must not cause that.
        cancels = flow.cancels + (news.cancels > 0)
        self._flow = msgspec.structs.replace(flow, cancels=cancels, late=flow.late or news.late)
        if news.cancels or news.late or (flow.stopped and not self._was_stopped):
            self._require_all()
            self._cancelled.update(step.name for step in self._now.values() if self._is_ended(step))

    def _is_ended(self, step: Step) -> bool:
        return step.open and step.state is not State.WAITING and self._ends(step)

    def _ends(self, step: Step) -> bool:
        """True if the step must end because the workflow was halted. A failure handler ends only
        after a second cancel request.
        """
        return self._flow.halted and (not step.handler or self._flow.cancels > 1)

    def _decide(self, step: Step) -> None:
        if self._ends(step):
            self._skip(step)
            return
        if any(name not in self._now for name in step.needs):
            return  # if a step that is not loaded matters, `_refuse_gaps` detects it
        match self._ready(step):
            case True:
                self._release(step)
            case False:
                self._skip(step)

    def _ready(self, step: Step) -> bool | None:
        """True if the step begins now, False if it never will, and None if it has to wait."""
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
        """True if the way in which the step `need` ended starts the failure handlers that depend on
        it.
        """
        match need.state:
            case State.FAILURE:
                return True
            case State.REVOKED:
                return not self._flow.cancels
            case State.SKIPPED:
                return self._flow.late and not self._flow.cancels
        return False

    def _release(self, step: Step) -> None:
        judged = step.judged()  # a group without members succeeds immediately
        self._now[step.name] = msgspec.structs.replace(judged, begun=step.size > 0)
        if step.size:
            (self._repeated if step.begun else self._released).append(step.name)

    def _skip(self, step: Step) -> None:
        self._now[step.name] = msgspec.structs.replace(step, state=State.SKIPPED)

    def _refuse_gaps(self) -> None:
        """Raise Incomplete if a step has changed and its consequences depend on steps that are not
        loaded.
        """
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
        # The state of a repeated step may look unchanged, if its end had not been counted before it
        # was repeated. It is included in the changes nevertheless, because its tasks run again.
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
