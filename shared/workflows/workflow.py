"""The Python API for defining a workflow: its steps, groups of tasks, their dependencies, and the
values that they pass on.

flow = Workflow("payment")
check = flow.step(VALIDATE, Validate(user_id=7, amount="1250.00"))
charge = flow.step(CHARGE, Charge(user_id=7, quote=check.result.quote))
flow.on_failure(REFUND, Refund(charge=charge.outcome))
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar, cast

import msgspec

from shared.contracts.contract import Contract, P, R
from shared.contracts.outcome import StepOutcome
from shared.workflows.reference import Filled, Kind, Reference
from shared.workflows.states import OnFailure, Rule

#: Default time limit for a whole workflow. There always is one, because the tasks of a workflow are
#: not deleted before it ends.
DEFAULT_DEADLINE = timedelta(days=30)

GO_ON, STOP = OnFailure.GO_ON, OnFailure.STOP

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Join:
    """The condition under which a step begins. It refers to the steps on which the step depends."""

    rule: Rule
    #: Number of steps that must have succeeded if the rule is AT_LEAST.
    k: int = 0


#: Condition: all steps on which the step depends have succeeded.
ALL = Join(Rule.ALL)
#: Condition: at least one step on which the step depends has succeeded.
ANY = Join(Rule.AT_LEAST, 1)
#: Condition: all steps on which the step depends have ended, whatever their outcome.
ALWAYS = Join(Rule.ALWAYS)
#: Condition: at least one step on which the step depends has failed.
FAILED = Join(Rule.FAILED)


def at_least(k: int) -> Join:
    """Condition: at least `k` of the steps on which the step depends have succeeded."""
    return Join(Rule.AT_LEAST, k)


class Node:
    """A step of a workflow: a single task or a group of tasks. `Workflow.step` and `Workflow.group`
    create it.
    """

    def __init__(
        self,
        flow: "Workflow",
        contract: Contract[Any, Any],
        members: Sequence[Any],
        *,
        name: str | None,
        grouped: bool,
        after: "Iterable[Node | Shape]",
        when: Join,
        priority: int | None,
        delay: timedelta | None,
        enough: int | None = None,
        first: bool = False,
    ) -> None:
        self.flow = flow
        self.contract = contract
        #: The parameters of each task of the step, by name. Values may be references to results of
        #: other steps.
        self.members = [_fields_of(params) for params in members]
        #: The class of each task's parameters, which is checked later.
        self.given = [params.params if isinstance(params, Filled) else type(params) for params in members]
        self.name = name or flow.free_name(contract)
        self.grouped = grouped
        self.after = [node for part in after for node in ([part] if isinstance(part, Node) else part.tails)]
        self.when = when
        self.priority = priority
        self.delay = delay
        #: Number of tasks of a group that must succeed. None means all.
        self.enough = enough
        self.first = first

    def __repr__(self) -> str:
        return f"step {self.name!r} of {self.flow.name}"


class Step(Node, Generic[R]):
    """A step that consists of a single task."""

    @property
    def result(self) -> R:
        """A reference to the result that the task will have. Its attributes are references to the
        fields of that result.
        """
        return cast(R, Reference(self, Kind.RESULT))

    @property
    def outcome(self) -> StepOutcome:
        """A reference to the outcome that the task will have, which says how it ended."""
        return cast(StepOutcome, Reference(self, Kind.OUTCOME))


class Group(Node, Generic[R]):
    """A step that consists of several tasks of one contract, which run in parallel."""

    @property
    def results(self) -> list[R]:
        """A reference to the results that the successful tasks of the group will have, in order."""
        return cast(list[R], Reference(self, Kind.RESULTS))

    @property
    def outcomes(self) -> list[StepOutcome]:
        """A reference to the outcomes that all tasks of the group will have, in order."""
        return cast(list[StepOutcome], Reference(self, Kind.OUTCOMES))


@dataclass(frozen=True, slots=True)
class Shape:
    """A part of a workflow that `chain`, `group` or `chord` has returned: its first steps, its last
    steps, and its result.
    """

    heads: tuple[Node, ...]
    tails: tuple[Node, ...]
    #: References to the result of this part, which the next part receives: one value, or a flat
    #: list of values if `many` is set.
    output: tuple[Reference, ...]
    many: bool


class Workflow:
    """A workflow that is being defined. `wiring.compile` checks it, and submitting it stores it."""

    def __init__(
        self,
        name: str,
        *,
        deadline: timedelta = DEFAULT_DEADLINE,
        on_failure: OnFailure = GO_ON,
        unique: str | None = None,
        priority: int | None = None,
        owner: int | None = None,
    ) -> None:
        """If `unique` is given, at most one unfinished workflow with this name and this key may
        exist at a time.
        """
        self.name = name
        self.deadline = deadline
        self.failure_policy = on_failure
        self.unique = unique
        self.priority = priority
        self.owner = owner
        self.nodes: list[Node] = []

    def step(
        self,
        contract: Contract[P, R],
        params: P,
        *,
        name: str | None = None,
        after: Iterable[Node | Shape] = (),
        when: Join = ALL,
        priority: int | None = None,
        delay: timedelta | None = None,
    ) -> Step[R]:
        """Add a step with one task. It depends on the steps to which its parameters refer, and on
        those in `after`.
        """
        return self._added(
            Step[R](
                self,
                contract,
                [params],
                name=name,
                grouped=False,
                after=after,
                when=when,
                priority=priority,
                delay=delay,
            )
        )

    def group(
        self,
        contract: Contract[P, R],
        members: Iterable[P],
        *,
        at_least: int | None = None,
        first: int | None = None,
        name: str | None = None,
        after: Iterable[Node | Shape] = (),
        when: Join = ALL,
        priority: int | None = None,
        delay: timedelta | None = None,
    ) -> Group[R]:
        """Add a step with several tasks, which run in parallel.

        All of them must succeed, unless `at_least` gives a smaller number. If `first` is given, the
        workflow continues as soon as that number of tasks has succeeded, and the others are
        canceled.
        """
        if at_least is not None and first is not None:
            raise ValueError("give a group at_least or first, not both")
        return self._added(
            Group[R](
                self,
                contract,
                list(members),
                name=name,
                grouped=True,
                after=after,
                when=when,
                priority=priority,
                delay=delay,
                enough=at_least if first is None else first,
                first=first is not None,
            )
        )

    def on_failure(self, contract: Contract[P, R], params: P, *, name: str | None = None) -> Step[R]:
        """Add a failure handler: a task that runs if any step that was added before it fails."""
        main = [node for node in self.nodes if node.when not in (ALWAYS, FAILED)]
        return self.step(contract, params, name=name, after=main, when=FAILED)

    def free_name(self, contract: Contract[Any, Any]) -> str:
        """Choose a name that no other step has: the last part of the contract's name, with a number
        appended if that name is taken.
        """
        base = contract.name.rpartition(".")[2]
        taken = {node.name for node in self.nodes}
        number = 1
        while (name := base if number == 1 else f"{base}_{number}") in taken:
            number += 1
        return name

    def _added(self, node: T) -> T:
        self.nodes.append(cast(Node, node))
        return node


def _fields_of(params: Any) -> dict[str, Any]:
    """The parameters of a task by their JSON names. Fields that are unset are left out."""
    names = _names_in(_struct_of(params))
    if isinstance(params, Filled):
        return {names.get(name, name): value for name, value in params.fields.items()}
    given = {encoded: getattr(params, name) for name, encoded in names.items()}
    return {name: value for name, value in given.items() if value is not msgspec.UNSET}


@functools.cache
def _names_in(struct: Any) -> dict[str, str]:
    """Maps each attribute of a parameter class to its JSON name. The result is cached, because all
    tasks of a group have the same class.
    """
    return {field.name: field.encode_name for field in msgspec.structs.fields(struct)}


def _struct_of(params: Any) -> Any:
    return params.params if isinstance(params, Filled) else type(params)
