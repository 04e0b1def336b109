"""Writes down a workflow: steps, groups, what they need and what they take from each other.

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

#: A workflow without a deadline of its own ends after this, so that none keeps its tasks forever.
DEFAULT_DEADLINE = timedelta(days=30)

GO_ON, STOP = OnFailure.GO_ON, OnFailure.STOP

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Join:
    """What a step asks of the steps that it needs."""

    rule: Rule
    #: Successes that AT_LEAST asks for.
    k: int = 0


#: All have succeeded.
ALL = Join(Rule.ALL)
#: One has succeeded.
ANY = Join(Rule.AT_LEAST, 1)
#: All have ended, in whatever way.
ALWAYS = Join(Rule.ALWAYS)
#: One has failed.
FAILED = Join(Rule.FAILED)


def at_least(k: int) -> Join:
    """`k` of the needed steps have succeeded."""
    return Join(Rule.AT_LEAST, k)


class Node:
    """A step of either kind; made by `Workflow.step` and `Workflow.group`."""

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
        #: Parameters of each member by name; some are references.
        self.members = [_fields_of(params) for params in members]
        #: The classes of the members' parameters.
        self.given = [params.params if isinstance(params, Filled) else type(params) for params in members]
        self.name = name or flow.free_name(contract)
        self.grouped = grouped
        self.after = [node for part in after for node in ([part] if isinstance(part, Node) else part.tails)]
        self.when = when
        self.priority = priority
        self.delay = delay
        #: Members that must succeed; None for all.
        self.enough = enough
        self.first = first

    def __repr__(self) -> str:
        return f"step {self.name!r} of {self.flow.name}"


class Step(Node, Generic[R]):
    """One task."""

    @property
    def result(self) -> R:
        """What it will return, or with an attribute one field of it."""
        return cast(R, Reference(self, Kind.RESULT))

    @property
    def outcome(self) -> StepOutcome:
        """How it ended."""
        return cast(StepOutcome, Reference(self, Kind.OUTCOME))


class Group(Node, Generic[R]):
    """Tasks of one kind side by side."""

    @property
    def results(self) -> list[R]:
        """Results of the members that succeeded, in order."""
        return cast(list[R], Reference(self, Kind.RESULTS))

    @property
    def outcomes(self) -> list[StepOutcome]:
        """How each member ended, in order."""
        return cast(list[StepOutcome], Reference(self, Kind.OUTCOMES))


@dataclass(frozen=True, slots=True)
class Shape:
    """What `chain`, `group` and `chord` make: where it begins, where it ends, what it returns."""

    heads: tuple[Node, ...]
    tails: tuple[Node, ...]
    #: Its result for the part that follows: one value, or with `many` a flat list.
    output: tuple[Reference, ...]
    many: bool


class Workflow:
    """A graph under construction. `compile` in `wiring` checks it; submitting it stores it."""

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
        """`unique` lets one unfinished workflow of this name and key exist at a time."""
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
        """Add one task. It needs the steps that its parameters refer to, and those of `after`."""
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
        """Add tasks that run side by side.

        All must succeed; with `at_least`, that many. With `first`, the workflow goes on as soon as that many
        have succeeded, and the others are canceled.
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
        """Add a task that runs when any step that was added before fails."""
        main = [node for node in self.nodes if node.when not in (ALWAYS, FAILED)]
        return self.step(contract, params, name=name, after=main, when=FAILED)

    def free_name(self, contract: Contract[Any, Any]) -> str:
        """The verb of the contract, with a number where that is taken."""
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
    """Parameters by the names that JSON gives them."""
    names = _names_in(_struct_of(params))
    if isinstance(params, Filled):
        return {names.get(name, name): value for name, value in params.fields.items()}
    given = {encoded: getattr(params, name) for name, encoded in names.items()}
    return {name: value for name, value in given.items() if value is not msgspec.UNSET}


@functools.cache
def _names_in(struct: Any) -> dict[str, str]:
    """Names in JSON by attribute; looked up once for the members of a group."""
    return {field.name: field.encode_name for field in msgspec.structs.fields(struct)}


def _struct_of(params: Any) -> Any:
    return params.params if isinstance(params, Filled) else type(params)
