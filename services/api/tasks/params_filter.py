"""Reads filters by task parameters from a query, such as `params.user_id=7`.

Dots lead to nested values: `params.stay.city=Goa`.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from services.api.http import json_text, texts
from shared.contracts.catalogue import Catalogue
from shared.contracts.patterns import whole
from shared.errors import FieldProblem, InvalidFields
from shared.ledger.task_filter import Alternatives

PREFIX = "params."
#: Maximum number of parameter filters in one request, and maximum length of a filter's value.
MAX_FILTERS = 5
MAX_VALUE = 200

_PATH = re.compile(whole(r"params(\.[A-Za-z_][A-Za-z0-9_]{0,63}){1,5}"))


def read(given: Iterable[tuple[str, str]]) -> dict[str, Alternatives]:
    """Read the parameter filters of a query. Raises InvalidFields.

    Returns the values that match, by the path of the parameter.
    """
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
    """Refuse filters by sensitive parameters of the named tasks. Raises InvalidFields.

    Sensitive parameters are stored encrypted, so they cannot be searched.
    """
    contracts = [catalogue.ever_by_name[name] for name in names if name in catalogue.ever_by_name]
    sealed = {f"{PREFIX}{field}" for contract in contracts for field in contract.sensitive_params}
    rule = "is stored encrypted and cannot be searched; leave it out"
    problems = [FieldProblem(path, rule) for path in filters if ".".join(path.split(".")[:2]) in sealed]
    if problems:
        raise InvalidFields(problems)


def _problem(name: str, value: str) -> FieldProblem | None:
    if not _PATH.match(name):
        return FieldProblem(name[:100], "must be params. and a name; up to five names, separated by dots")
    if len(value) > MAX_VALUE:
        return FieldProblem(name, f"must have at most {MAX_VALUE} characters")
    # A JSON string such as `"\u0000"` may contain a character that cannot be stored. Only the
    # decoded text shows it, so both forms are checked.
    given = [value, *(each for each in _scalar(value) if isinstance(each, str))]
    return next((found for text in given if (found := texts.problem(name, text))), None)


def _alternatives(name: str, value: str) -> Alternatives:
    path = name.split(".")[1:]
    return tuple(_nested(path, each) for each in (value, *_scalar(value)))


def _scalar(value: str) -> Iterable[Any]:
    """Yield the number, boolean, null or string that `value` represents in JSON.

    Yields nothing if `value` is not JSON, or is an object or an array.
    """
    try:
        read = json_text.read(value)
    except ValueError:
        return
    if isinstance(read, dict | list) or (isinstance(read, float) and not math.isfinite(read)):
        return
    yield read


def _nested(path: list[str], value: Any) -> str:
    document = value
    for name in reversed(path):
        document = {name: document}
    return json.dumps(document)
