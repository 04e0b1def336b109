"""References to the future result of a workflow step. They are used instead of values in the
parameters of later steps.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast

import msgspec

from shared.contracts.contract import Params

if TYPE_CHECKING:
    from shared.workflows.workflow import Node

Q = ParamSpec("Q")
P = TypeVar("P", bound=Params)


class Kind(StrEnum):
    """The kind of a reference: which value it reads from a step."""

    RESULT = "result"
    #: RESULTS: the results of a group's successful tasks, in the order in which the tasks were
    #: defined.
    RESULTS = "results"
    #: OUTCOME: a `StepOutcome`, which says how the step ended, even if it was not successful.
    OUTCOME = "outcome"
    #: OUTCOMES: a list with one `StepOutcome` for each task of a group.
    OUTCOMES = "outcomes"


class Source(msgspec.Struct, frozen=True, array_like=True):
    """A reference in the form in which it is stored with the step that reads it."""

    step: str
    kind: Kind
    #: Names of the fields that lead from the result to a value inside it. Empty for the whole
    #: result.
    path: tuple[str, ...] = ()


class Input(msgspec.Struct, frozen=True, array_like=True):
    """Where the value of one parameter comes from: one source or, if `many` is set, several sources
    whose values form one flat list.
    """

    many: bool
    sources: tuple[Source, ...]


class Reference:
    """A reference to a step's future result (`step.result`) or to a field of it
    (`step.result.field`), while the workflow is being defined.
    """

    __slots__ = ("_kind", "_node", "_path")

    def __init__(self, node: "Node", kind: Kind, path: tuple[str, ...] = ()) -> None:
        self._node = node
        self._kind = kind
        self._path = path

    def __getattr__(self, name: str) -> "Reference":
        # such names belong to Python's own protocols, not to a result's field
        if name.startswith("__"):
            raise AttributeError(name)
        return Reference(self._node, self._kind, (*self._path, name))

    def __repr__(self) -> str:
        return ".".join((self._node.name, self._kind, *self._path))


class Previous:
    """The type of the placeholder `PREVIOUS`."""

    def __repr__(self) -> str:
        return "PREVIOUS"


#: Placeholder for the result of the previous part of a chain. If that part is a group, it is the
#: list of the group's results.
PREVIOUS: Final[Any] = Previous()


def parts_of(reference: Reference) -> tuple["Node", Kind, tuple[str, ...]]:
    """The step, kind and path of a reference. This is a function and not a method of `Reference`,
    because every attribute of a reference is a reference to a field of the result.
    """
    return reference._node, reference._kind, reference._path


class Gathered:
    """Several references whose values are combined into one list."""

    def __init__(self, references: list[Reference]) -> None:
        self.references = references


class Filled:
    """Parameters that `fill` describes. They are built when the values of their references are
    known.
    """

    def __init__(self, params: Callable[..., Any], fields: dict[str, Any]) -> None:
        self.params = params
        self.fields = fields


def fill(params: Callable[Q, P], /, *_: Q.args, **fields: Q.kwargs) -> P:
    """Describe parameters that contain references. They are built once the values of all references
    are known.

    Use this function for parameter classes whose `__post_init__` compares fields. To other classes,
    references can be passed directly: `Charge(quote=check.result.quote)`.
    """
    return cast(P, Filled(params, fields))
