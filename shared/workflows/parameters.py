"""Splits the parameters of a workflow step into constants and values that come from the results of
other steps.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from shared.contracts import broken_rules, document
from shared.contracts.contract import MAX_PARAMS_BYTES
from shared.errors import FieldProblem, InvalidFields
from shared.workflows import fits
from shared.workflows.reference import Gathered, Input, Kind, Previous, Reference, Source, parts_of
from shared.workflows.states import Rule
from shared.workflows.workflow import Node

#: Maximum number of problems that are reported per group. The tasks of a group usually break the
#: same rule.
MAX_PROBLEMS = 10


def wired(node: Node) -> dict[str, Input]:
    """The parameters of a step that are read from other steps. They are the same for all tasks of a
    group.
    """
    first = node.members[0] if node.members else {}
    found = {name: _references(value) for name, value in first.items()}
    return {name: _input(*gathered) for name, gathered in found.items() if gathered is not None}


def constants(node: Node, inputs: Mapping[str, Input]) -> Iterator[str]:
    """Yield the constant parameters of each task of a step, as JSON text. Raises InvalidFields."""
    for fields in node.members:
        plain = {name: _plain(value) for name, value in fields.items() if name not in inputs}
        if inputs:
            yield document.encode(plain, "params", MAX_PARAMS_BYTES)
        else:
            yield node.contract.encode_params(node.contract.check_params(plain))


def problems(node: Node, inputs: Mapping[str, Input]) -> list[FieldProblem]:
    """The rules that a step's parameters break. The path of each field begins with `params`."""
    wanted = {field.encode_name: field for field in msgspec.structs.fields(node.contract.params)}
    params = node.contract.params
    found = [
        FieldProblem("params", f"must be {params.__name__}, not {given}")
        for given in set(node.given)
        if not (isinstance(given, type) and issubclass(given, params))
    ]
    for number, fields in enumerate(node.members):
        root = f"params[{number}]" if node.grouped else "params"
        found += _of_member(node, fields, inputs, wanted, root)
        if len(found) > MAX_PROBLEMS:
            return found
    for name, each in inputs.items():
        rules = _of_input(node, name, each, wanted[name]) if name in wanted else ()
        found += [FieldProblem(f"params.{name}", rule) for rule in rules]
    return found


def _of_member(
    node: Node, fields: Mapping[str, Any], inputs: Mapping[str, Input], wanted: Mapping[str, Any], root: str
) -> list[FieldProblem]:
    found = [FieldProblem(f"{root}.{name}", "is unknown") for name in fields if name not in wanted]
    for name, field in wanted.items():
        if name not in fields and field.required:
            found.append(FieldProblem(f"{root}.{name}", "is required"))
    for name, value in fields.items():
        found += [
            FieldProblem(f"{root}.{name}", rule) for rule in _of_reference(node, value, inputs.get(name))
        ]
    return found or _of_constants(node, fields, inputs, wanted, root)


def _of_reference(node: Node, value: Any, shared: Input | None) -> Iterator[str]:
    gathered = _references(value)
    if isinstance(value, Previous):
        yield "is PREVIOUS, but nothing precedes it: put the step into a chain"
    elif (None if gathered is None else _input(*gathered)) != shared:
        yield "must be read from the same steps in all members: use group() of single steps instead"
    for reference in gathered[1] if gathered else ():
        if parts_of(reference)[0].flow is not node.flow:
            yield f"is read from {parts_of(reference)[0].name!r}, which is a step of another workflow"


def _of_constants(
    node: Node, fields: Mapping[str, Any], inputs: Mapping[str, Input], wanted: Mapping[str, Any], root: str
) -> list[FieldProblem]:
    try:
        plain = {name: _plain(value) for name, value in fields.items() if name not in inputs}
        if not inputs:
            node.contract.encode_params(node.contract.check_params(plain))
            return []
        document.encode(plain, "params", MAX_PARAMS_BYTES)
    except InvalidFields as error:
        return [FieldProblem(root + each.field.removeprefix("params"), each.rule) for each in error.problems]
    found: list[FieldProblem] = []
    for name, value in plain.items():
        try:
            msgspec.convert(value, wanted[name].type)
        except msgspec.ValidationError as error:
            found.append(broken_rules.read(str(error), f"{root}.{name}"))
    return found


def _of_input(node: Node, name: str, each: Input, field: Any) -> Iterator[str]:
    by_name = {other.name: other for other in node.flow.nodes}
    for source in each.sources:
        producer = by_name.get(source.step)
        if producer is None:
            yield f"is read from {source.step!r}, which is no step of this workflow"
            continue
        want = fits.item_of(field.type) if each.many and source.kind is not Kind.RESULTS else field.type
        yield from _of_source(node, name, source, producer, want)


def _of_source(node: Node, name: str, source: Source, producer: Node, want: Any) -> Iterator[str]:
    of_result = source.kind in (Kind.RESULT, Kind.RESULTS)
    have = fits.type_of(source.kind, producer.contract.result)
    if source.path:
        have = fits.type_at(producer.contract.result, source.path) if source.kind is Kind.RESULT else None
    if have is None:
        yield f"is read from the field {'.'.join(source.path)!r}, which {producer.name!r} does not return"
    elif not fits.fits(have, want):
        yield f"takes {fits.name_of(want)}, but {producer.name!r} gives {fits.name_of(have)}"
    if of_result and node.when.rule is not Rule.ALL:
        rule = f"takes a result, which may be missing when the rule is {node.when.rule}"
        yield f"{rule}: use the outcome of {producer.name!r}"
    if _is_sealed(source, producer) and name not in node.contract.sensitive_params:
        yield f"takes a sensitive value of {producer.name!r}, so it must be marked SENSITIVE"


def _is_sealed(source: Source, producer: Node) -> bool:
    sensitive = producer.contract.sensitive_result
    return bool(sensitive) and (not source.path or source.path[0] in sensitive)


def _references(value: Any) -> tuple[bool, list[Reference]] | None:
    """The references in a value, and whether they form a list. None if the value contains no
    reference.
    """
    if isinstance(value, Reference):
        return False, [value]
    if isinstance(value, Gathered):
        return True, value.references
    if isinstance(value, list) and value and all(isinstance(item, Reference) for item in value):
        return True, value
    return None


def _input(many: bool, references: list[Reference]) -> Input:
    return Input(many, tuple(_source(*parts_of(reference)) for reference in references))


def _source(node: Node, kind: Kind, path: tuple[str, ...]) -> Source:
    return Source(node.name, kind, fits.in_json(node.contract.result, path))


def _plain(value: Any) -> Any:
    """Convert a constant value to JSON data. Raises InvalidFields."""
    try:
        return msgspec.to_builtins(value)
    except (TypeError, ValueError) as error:
        rule = f"cannot be stored as JSON; a reference must be a whole value or an item of a list: {error}"
        raise InvalidFields([FieldProblem("params", rule)]) from None
