"""Computes the drawing of a workflow's graph of steps, from left to right.

Nodes are layered by their longest path and ordered by barycenters. Steps that are alike are folded
into one node, so that a wide workflow stays readable.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from services.api.workflows.schemas import StepAnswer
from shared.workflows.states import State

#: Size of a node, and the gaps between nodes, in pixels.
WIDTH: Final = 172
HEIGHT: Final = 52
GAP_X: Final = 44
GAP_Y: Final = 16
MARGIN: Final = 2
#: More steps than this that are alike are folded into one node.
SIBLINGS: Final = 4
#: Maximum number of nodes. A larger drawing would not be readable; the page shows only the list of
#: steps.
MAX_NODES: Final = 200
#: Number of sweeps over all layers. Each sweep moves connected nodes closer together. More sweeps
#: change little.
SWEEPS: Final = 4
#: Number of characters of a step's name that fit into a node.
FITS: Final = 17
#: States of steps by urgency. A node that represents several steps shows the first of these states
#: that one of the steps has.
_WORST: Final = (State.FAILURE, State.RUNNING, State.REVOKED, State.WAITING, State.SKIPPED, State.SUCCESS)


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the drawing: a step of the workflow, or several steps that are alike."""

    #: Names of the workflow steps that the node represents.
    names: tuple[str, ...]
    label: str
    state: State
    #: Second line of text in the node: the kind of task, or how many members of a group ended in
    #: which way.
    detail: str
    #: True if the step runs only after a failure, or in any case.
    handler: bool
    x: float = 0
    y: float = 0

    @property
    def title(self) -> str:
        return f"{', '.join(self.names[:10])}: {self.state}, {self.detail}"


@dataclass(frozen=True, slots=True)
class Edge:
    """A line from a step to a step that depends on it: the SVG path, and whether the workflow has
    passed it.
    """

    path: str
    passed: bool


@dataclass(frozen=True, slots=True)
class Drawing:
    """The drawing of a workflow's graph, with coordinates in pixels."""

    width: float
    height: float
    nodes: Sequence[Node]
    edges: Sequence[Edge]


def draw(steps: Sequence[StepAnswer]) -> Drawing | None:
    """Draw the graph of a workflow. Returns None if the drawing would have more than MAX_NODES
    nodes.

    In `steps`, each step comes after the steps that it depends on.
    """
    groups = _folded(steps)
    if len(groups) > MAX_NODES:
        return None
    number = {step.step: index for index, group in enumerate(groups) for step in group}
    needs = [sorted({number[need] for step in group for need in step.needs}) for group in groups]
    rows = _ordered(_layers(needs), needs)
    places = _places(rows)
    nodes = [_node(group, *places[index]) for index, group in enumerate(groups)]
    edges = [_edge(nodes[source], nodes[index]) for index, of in enumerate(needs) for source in of]
    return Drawing(
        width=max(node.x for node in nodes) + WIDTH + MARGIN,
        height=max(node.y for node in nodes) + HEIGHT + MARGIN,
        nodes=nodes,
        edges=edges,
    )


def _folded(steps: Sequence[StepAnswer]) -> list[list[StepAnswer]]:
    """Group the steps that run the same kind of task and have the same predecessors and successors."""
    needed_by: dict[str, set[str]] = defaultdict(set)
    for step in steps:
        for need in step.needs:
            needed_by[need].add(step.step)
    alike: dict[object, list[StepAnswer]] = defaultdict(list)
    for step in steps:
        single = step.members is None
        key = (step.task, step.rule, frozenset(step.needs), frozenset(needed_by[step.step]))
        alike[key if single else step.step].append(step)
    groups = []
    for group in alike.values():
        groups += [group] if len(group) > SIBLINGS else [[step] for step in group]
    position = {step.step: index for index, step in enumerate(steps)}
    return sorted(groups, key=lambda group: position[group[0].step])


def _layers(needs: Sequence[Sequence[int]]) -> list[list[int]]:
    """Place each node one layer after the last of the nodes that it depends on."""
    depth: list[int] = []
    for of in needs:
        depth.append(1 + max((depth[source] for source in of), default=-1))
    layers: list[list[int]] = [[] for _ in range(max(depth) + 1)]
    for index, layer in enumerate(depth):
        layers[layer].append(index)
    return layers


def _ordered(layers: list[list[int]], needs: Sequence[Sequence[int]]) -> list[list[int]]:
    """Order the nodes within each layer so that connected nodes in adjacent layers are close to
    each other.
    """
    followers: dict[int, list[int]] = defaultdict(list)
    for index, of in enumerate(needs):
        for source in of:
            followers[source].append(index)
    rows = [list(layer) for layer in layers]
    for sweep in range(SWEEPS):
        neighbors: Mapping[int, Sequence[int]] = followers if sweep % 2 else dict(enumerate(needs))
        for row in reversed(rows) if sweep % 2 else rows:
            place = {index: at for each in rows for at, index in enumerate(each)}
            row.sort(key=lambda index: _mean([place[n] for n in neighbors.get(index, ())], place[index]))
    return rows


def _mean(values: Sequence[int], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _places(rows: Sequence[Sequence[int]]) -> dict[int, tuple[float, float]]:
    """Compute the upper left corner of each node. Layers with fewer nodes are centered."""
    tallest = max(len(row) for row in rows)
    step_y = HEIGHT + GAP_Y
    return {
        index: (
            MARGIN + layer * (WIDTH + GAP_X),
            MARGIN + at * step_y + (tallest - len(row)) * step_y / 2,
        )
        for layer, row in enumerate(rows)
        for at, index in enumerate(row)
    }


def _node(group: Sequence[StepAnswer], x: float, y: float) -> Node:
    first = group[0]
    names = tuple(step.step for step in group)
    if len(group) > 1:
        label, detail = _many(first.task, len(group)), _counts(group)
    elif first.members is not None:
        label, detail = _many(first.step, first.members), _members(first)
    else:
        label, detail = _short(first.step), first.task
    state = next(state for state in _WORST if any(step.state == state for step in group))
    return Node(names, label, state, _short(detail, FITS + 3), first.handler, x, y)


def _counts(group: Sequence[StepAnswer]) -> str:
    counts = [(sum(step.state == state for step in group), state) for state in _WORST]
    return ", ".join(f"{count} {_WORDS[state]}" for count, state in counts if count)


def _members(step: StepAnswer) -> str:
    counts = ((step.succeeded, "done"), (step.failed, "failed"), (step.revoked, "canceled"))
    shown = [f"{count:,} {word}" for count, word in counts if count]
    return ", ".join(shown) or step.task


_WORDS: Final[Mapping[State, str]] = {
    State.WAITING: "waiting",
    State.RUNNING: "running",
    State.SUCCESS: "done",
    State.FAILURE: "failed",
    State.REVOKED: "canceled",
    State.SKIPPED: "skipped",
}


def _many(name: str, count: int) -> str:
    number = f" x{count:,}"
    return _short(name, FITS - len(number)) + number


def _short(text: str, fits: int = FITS) -> str:
    """Shorten a name in its middle, because names differ most at their ends."""
    if len(text) <= fits:
        return text
    tail = fits // 2
    return f"{text[: fits - tail - 1]}…{text[-tail:]}"


def _edge(source: Node, target: Node) -> Edge:
    left, right = source.x + WIDTH, target.x
    top, bottom = source.y + HEIGHT / 2, target.y + HEIGHT / 2
    middle = GAP_X / 2
    path = f"M{left:g} {top:g} C{left + middle:g} {top:g} {right - middle:g} {bottom:g} {right:g} {bottom:g}"
    return Edge(path, passed=target.state not in (State.WAITING, State.SKIPPED))
