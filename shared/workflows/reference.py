"""References to what a step will return. They take the place of a value in the parameters of a later step."""

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
    """What is read of a step."""

    RESULT = "result"
    #: Results of a group's members that succeeded, in the order of their definition.
    RESULTS = "results"
    #: A `StepOutcome`, whatever the end was.
    OUTCOME = "outcome"
    #: One for each member.
    OUTCOMES = "outcomes"


class Source(msgspec.Struct, frozen=True, array_like=True):
    """A reference as it is stored with the task that reads it."""

    step: str
    kind: Kind
    #: Names of fields that lead into the result.
    path: tuple[str, ...] = ()


class Input(msgspec.Struct, frozen=True, array_like=True):
    """The value of one parameter: one source, or with `many` the flat list of what all sources give."""

    many: bool
    sources: tuple[Source, ...]


class Reference:
    """`step.result`, and `step.result.field`, before the workflow is compiled."""

    __slots__ = ("_kind", "_node", "_path")

    def __init__(self, node: "Node", kind: Kind, path: tuple[str, ...] = ()) -> None:
        self._node = node
        self._kind = kind
        self._path = path

    def __getattr__(self, name: str) -> "Reference":
        if name.startswith("__"):  # Python's own questions, of `copy` for example
            raise AttributeError(name)
        return Reference(self._node, self._kind, (*self._path, name))

    def __repr__(self) -> str:
        return ".".join((self._node.name, self._kind, *self._path))


class Previous:
    """The type of `PREVIOUS`."""

    def __repr__(self) -> str:
        return "PREVIOUS"


#: The result of the preceding part of a chain; after a group, the list of all results.
PREVIOUS: Final[Any] = Previous()


def parts_of(reference: Reference) -> tuple["Node", Kind, tuple[str, ...]]:
    """Step, kind and path. A function, because every attribute of a reference leads into the result."""
    return reference._node, reference._kind, reference._path


class Gathered:
    """Several references whose values make one list."""

    def __init__(self, references: list[Reference]) -> None:
        self.references = references


class Filled:
    """Parameters that `fill` has not built."""

    def __init__(self, params: Callable[..., Any], fields: dict[str, Any]) -> None:
        self.params = params
        self.fields = fields


def fill(params: Callable[Q, P], /, *_: Q.args, **fields: Q.kwargs) -> P:
    """Parameters that are built when their references have values.

    For classes whose `__post_init__` compares fields. Others take references as they are:
    `Charge(quote=check.result.quote)`.
    """
    return cast(P, Filled(params, fields))
