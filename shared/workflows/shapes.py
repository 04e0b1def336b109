"""`chain`, `group` and `chord`: they order steps, nest freely, and fill `PREVIOUS`."""

from shared.workflows.reference import Gathered, Kind, Previous, Reference
from shared.workflows.workflow import Group, Node, Shape


def chain(*parts: Node | Shape) -> Shape:
    """One part after the other. `PREVIOUS` in a part is the result of the part before it."""
    heads: tuple[Node, ...] = ()
    last = Shape((), (), (), many=True)
    for number, part in enumerate(map(_shape, parts)):
        if number:
            _follow(part, last)
        heads = heads or part.heads
        # An empty group has no end of its own: what follows it waits for the part before.
        last = Shape(heads, part.tails or last.tails, part.output, part.many)
    return last


def group(*parts: Node | Shape) -> Shape:
    """All parts side by side. Its result is one flat list, in the order of the parts."""
    shapes = [_shape(part) for part in parts]
    return Shape(
        tuple(node for shape in shapes for node in shape.heads),
        tuple(node for shape in shapes for node in shape.tails),
        tuple(reference for shape in shapes for reference in shape.output),
        many=True,
    )


def chord(header: Node | Shape, body: Node | Shape) -> Shape:
    """The header, usually a group, and then the body with its results."""
    return chain(header, body)


def _shape(part: Node | Shape) -> Shape:
    if isinstance(part, Shape):
        return part
    kind = Kind.RESULTS if isinstance(part, Group) else Kind.RESULT
    return Shape((part,), (part,), (Reference(part, kind),), many=False)


def _follow(part: Shape, before: Shape) -> None:
    """Let a part begin after another one, with its result."""
    value = Gathered(list(before.output)) if before.many else before.output[0]
    for node in part.heads:
        node.after += before.tails
        for fields in node.members:
            fields.update({name: value for name, given in fields.items() if isinstance(given, Previous)})
