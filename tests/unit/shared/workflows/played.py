"""Simulates a workflow without servers for tests: it applies the planner's plans, and ends the
tasks of steps in any order.
"""

import random
from collections import Counter
from collections.abc import Iterable
from uuid import UUID

import msgspec

from shared.workflows.graph import Incomplete, News, Plan, plan
from shared.workflows.retry import Choice
from shared.workflows.states import Ended, Flow, OnFailure, State, Step

SUCCESS, FAILURE, REVOKED = "success", "failure", "revoked"
ENDED = {SUCCESS: Ended(succeeded=1), FAILURE: Ended(failed=1), REVOKED: Ended(revoked=1)}


def linked(steps: Iterable[Step]) -> list[Step]:
    """The steps in their order, with the fields `position` and `next` filled in."""
    given = list(steps)
    following = {step.name: tuple(o.name for o in given if step.name in o.needs) for step in given}
    return [
        msgspec.structs.replace(step, position=position, next=following[step.name])
        for position, step in enumerate(given)
    ]


class Played:
    """A simulated workflow.

    It makes each plan twice, from all steps and from only those that `advance` would read, and
    checks that both plans are equal.
    """

    def __init__(self, steps: Iterable[Step], *, on_failure: OnFailure = OnFailure.GO_ON) -> None:
        given = linked(steps)
        self.steps = {step.name: step for step in given}
        self.flow = Flow(id=UUID(int=1), on_failure=on_failure, open_steps=len(given))
        #: Running tasks of steps, as the step's name and the task's number in the step.
        self.open: set[tuple[str, int]] = set()
        #: Status with which each task has ended.
        self.ended: dict[tuple[str, int], str] = {}
        #: How often each task has ended.
        self.runs: Counter[tuple[str, int]] = Counter()
        self.cancelled: set[str] = set()
        self.released: list[str] = []
        self._apply(plan(self.flow, given, News(), complete=True))

    def news(self, **news: object) -> Plan:
        """Tell the workflow what happened, such as ends of tasks or requests, and carry out the
        plan that follows.

        Returns the plan.
        """
        happened = msgspec.convert(news, News)
        whole = plan(self.flow, self.steps.values(), happened, complete=True)
        try:
            made = plan(self.flow, self._near(happened), happened, complete=False)
        except Incomplete:
            made = whole
        assert made == whole
        self._apply(made)
        return made

    def end(self, **statuses: str) -> Plan:
        """End one running task of each named step, all at the same time."""
        for name, status in statuses.items():
            self._end(next(member for member in sorted(self.open) if member[0] == name), status)
        return self.news(ended={name: ENDED[status] for name, status in statuses.items()})

    def again(self, choice: Choice) -> Plan:
        """Retry the workflow, as the API and then the next advance do."""
        self.flow = msgspec.structs.replace(self.flow, cancels=0, late=False, stopped=False)
        self.cancelled = set()
        lost = [
            member
            for member, status in self.ended.items()
            if member[0] in choice.mended and status != SUCCESS
        ]
        ended: dict[str, Ended] = {}
        for name, member in lost:
            ended[name] = _sum(ended.get(name, Ended()), ENDED[self.ended.pop((name, member))], -1)
        self.open |= set(lost)
        repeated = [*choice.repeated, *choice.waiting]
        return self.news(ended=ended, reopened=bool(lost), repeated=repeated)

    def states(self) -> dict[str, State]:
        return {name: step.state for name, step in self.steps.items()}

    def _end(self, member: tuple[str, int], status: str) -> None:
        self.open.remove(member)
        self.ended[member] = status
        self.runs[member] += 1

    def _near(self, news: News) -> list[Step]:
        """Steps to which something happened, the steps that need them, and all other steps that
        those need.
        """
        touched = [self.steps[name] for name in [*news.ended, *news.repeated]]
        following = [self.steps[name] for step in touched for name in step.next]
        near = {step.name: step for step in [*touched, *following]}
        near |= {name: self.steps[name] for step in following for name in step.needs}
        return list(near.values())

    def _apply(self, made: Plan) -> None:
        self.flow = made.flow
        self.steps |= {step.name: step for step in made.changed}
        for name in made.released:
            assert name not in self.released, "the tasks of a step are made once"
            self.released.append(name)
        for name in made.repeated:
            assert name in self.released, "tasks that begin again exist"
        for name in (*made.released, *made.repeated):
            members = {(name, member) for member in range(self.steps[name].size)}
            assert not members & self.open, "what has not ended does not begin"
            self.open |= members
        self.cancelled |= set(made.cancelled)

    def run(self, outcomes: dict[str, list[str]], order: random.Random) -> None:
        """End all tasks with the statuses in `outcomes`, in random order and portions.

        A task of a canceled step may end as revoked instead.
        """
        while self.open:
            ended: dict[str, Ended] = {}
            for name, member in order.sample(sorted(self.open), order.randint(1, len(self.open))):
                status = outcomes[name][member]
                if name in self.cancelled and order.random() < 0.5:
                    status = REVOKED
                self._end((name, member), status)
                ended[name] = _sum(ended.get(name, Ended()), ENDED[status], 1)
            self.news(ended=ended)


def _sum(one: Ended, other: Ended, sign: int) -> Ended:
    return Ended(
        one.succeeded + sign * other.succeeded,
        one.failed + sign * other.failed,
        one.revoked + sign * other.revoked,
    )
