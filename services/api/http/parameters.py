"""What Litestar refuses before a handler runs: parameters of the query, the path and the headers."""

import re
from typing import Any

from litestar import Request
from litestar.exceptions import ValidationException
from litestar.typing import FieldDefinition

from shared.contracts import broken_rules
from shared.errors import FieldProblem

#: Litestar names a parameter that is missing in its message only.
_MISSING = re.compile(r"Missing required \w+ parameter '([^']+)'")
#: The position of a value in a parameter that was given several times.
_POSITION = re.compile(r"\.?\[(\d+|\.\.\.)\]")


def problems(error: ValidationException, request: Request[Any, Any, Any]) -> list[FieldProblem]:
    """Every parameter that breaks its rule, with the rule."""
    if missing := _MISSING.search(error.detail):
        return [FieldProblem(missing[1], "is required")]
    found: Any = error.extra or []
    return [_problem(each.get("key", ""), each["message"], request) for each in found]


def _sent_as(declared: FieldDefinition | None) -> str | None:
    """The parameter's name in requests, where the handler calls it otherwise."""
    return getattr(declared.kwarg_definition, "name", None) if declared else None


def _problem(key: str, message: str, request: Request[Any, Any, Any]) -> FieldProblem:
    if key == "data":
        return FieldProblem("", "a JSON object is required as the body")
    name = _POSITION.sub("", key)
    declared = request.route_handler.parsed_fn_signature.parameters.get(name)
    problem = FieldProblem(_sent_as(declared) or name, message[:1].lower() + message[1:])
    return broken_rules.one_of(problem, declared.annotation) if declared else problem
