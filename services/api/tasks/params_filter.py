"""Filters of lists by parameters: `params.user_id=7`, with dots for what is nested."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from shared.contracts.catalogue import Catalogue
from shared.contracts.patterns import whole
from shared.errors import FieldProblem, InvalidFields

PREFIX = "params."
#: Limits on the filters of one list.
MAX_FILTERS = 5
MAX_VALUE = 200

_PATH = re.compile(whole(r"params(\.[A-Za-z_][A-Za-z0-9_]{0,63}){1,5}"))

#: JSON texts that the parameters may contain; one is enough. `7` in a query may be a number or a text.
Alternatives = tuple[str, ...]


def read(given: Iterable[tuple[str, str]]) -> dict[str, Alternatives]:
    """The filters among the parameters of a query, by path. Raises InvalidFields."""
    filters = [(name, value) for name, value in given if name.startswith(PREFIX)]
    problems = [problem for name, value in filters if (problem := _problem(name, value))]
    if len({name for name, _ in filters}) < len(filters):
        problems.append(FieldProblem("params", "each parameter may be given once"))
    if len(filters) > MAX_FILTERS:
        problems.append(FieldProblem("params", f"at most {MAX_FILTERS} parameters may be given"))
    if problems:
        raise InvalidFields(problems)
    return {name: _alternatives(name, value) for name, value in filters}


def refuse_sealed(filters: Mapping[str, Alternatives], names: Iterable[str], catalogue: Catalogue) -> None:
    """Refuse sensitive parameters of the named tasks: they are stored encrypted. Raises InvalidFields."""
    contracts = [catalogue.ever_by_name[name] for name in names if name in catalogue.ever_by_name]
    sealed = {f"{PREFIX}{field}" for contract in contracts for field in contract.sensitive_params}
    rule = "is stored encrypted and cannot be searched; leave it out"
    problems = [FieldProblem(path, rule) for path in filters if ".".join(path.split(".")[:2]) in sealed]
    if problems:
        raise InvalidFields(problems)


def _problem(name: str, value: str) -> FieldProblem | None:
    if not _PATH.match(name):
        return FieldProblem(name[:100], "must be params. and a name; up to five names, separated by dots")
    if "\x00" in value:
        return FieldProblem(name, "must not contain the NUL character")
    if len(value) > MAX_VALUE:
        return FieldProblem(name, f"must have at most {MAX_VALUE} characters")
    return None


def _alternatives(name: str, value: str) -> Alternatives:
    path = name.split(".")[1:]
    return tuple(_nested(path, each) for each in (value, *_scalar(value)))


def _scalar(value: str) -> Iterable[Any]:
    """The number, boolean, null or text that the value is in JSON."""
    try:
        read = json.loads(value)
    except (ValueError, RecursionError):
        return
    if isinstance(read, dict | list) or (isinstance(read, float) and not math.isfinite(read)):
        return
    yield read


def _nested(path: list[str], value: Any) -> str:
    document = value
    for name in reversed(path):
        document = {name: document}
    return json.dumps(document)
