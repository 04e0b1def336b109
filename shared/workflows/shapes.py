"""Functions that define the order of workflow steps: `chain`, `group` and `chord`. They can be
nested, and they replace the placeholder `PREVIOUS` by references.
"""

from shared.workflows.reference import Gathered, Kind, Previous, Reference
from shared.workflows.workflow import Group, Node, Shape


def chain(*parts: Node | Shape) -> Shape:
    """Run parts of a workflow one after the other. In the parameters of a part, `PREVIOUS` is the
    result of the part before it.
    """
    heads: tuple[Node, ...] = ()
    last = Shape((), (), (), many=True)
    for number, part in enumerate(map(_shape, parts)):
        if number:
            _follow(part, last)
        heads = heads or part.heads
        # A part without steps never ends by itself, so the next part waits for the one before the
        # empty part.
        last = Shape(heads, part.tails or last.tails, part.output, part.many)
    return last


def group(*parts: Node | Shape) -> Shape:
    """Run parts of a workflow in parallel. The combined result is one flat list, in the order of
    the parts.
    """
    shapes = [_shape(part) for part in parts]
    return Shape(
        tuple(node for shape in shapes for node in shape.heads),
        tuple(node for shape in shapes for node in shape.tails),
        tuple(reference for shape in shapes for reference in shape.output),
        many=True,
    )


def chord(header: Node | Shape, body: Node | Shape) -> Shape:
    """Run the header, usually a group, and then run the body with the header's results."""
    return chain(header, body)


def _shape(part: Node | Shape) -> Shape:
    if isinstance(part, Shape):
        return part
    kind = Kind.RESULTS if isinstance(part, Group) else Kind.RESULT
    return Shape((part,), (part,), (Reference(part, kind),), many=False)


def _follow(part: Shape, before: Shape) -> None:
    """Let a part begin after another part has ended, and replace `PREVIOUS` in its parameters by
    the result of that part.
    """
    value = Gathered(list(before.output)) if before.many else before.output[0]
    for node in part.heads:
        node.after += before.tails
        for fields in node.members:
            fields.update({name: value for name, given in fields.items() if isinstance(given, Previous)})
