"""Describes the invalid parameters in a request's query, path and headers that Litestar finds
before a handler runs.
"""

import re
from typing import Any

from litestar import Request
from litestar.exceptions import ValidationException
from litestar.typing import FieldDefinition

from shared.contracts import broken_rules
from shared.errors import FieldProblem

#: Finds the name of a missing parameter in Litestar's error message, which is the only place that
#: has it.
_MISSING = re.compile(r"Missing required \w+ parameter '([^']+)'")
#: Finds the position of an invalid value in the key of Litestar's error, if the parameter was given
#: several times.
_POSITION = re.compile(r"\.?\[(\d+|\.\.\.)\]")


def problems(error: ValidationException, request: Request[Any, Any, Any]) -> list[FieldProblem]:
    """Return, for each invalid parameter of the request, the rule that it breaks."""
    if missing := _MISSING.search(error.detail):
        return [FieldProblem(missing[1], "is required")]
    found: Any = error.extra or []
    return [_problem(each.get("key", ""), each["message"], request) for each in found]


def _sent_as(declared: FieldDefinition | None) -> str | None:
    """The parameter's name in requests, if it differs from the name of the handler's argument;
    otherwise None.
    """
    return getattr(declared.kwarg_definition, "name", None) if declared else None


def _problem(key: str, message: str, request: Request[Any, Any, Any]) -> FieldProblem:
    if key == "data":
        return FieldProblem("", "a JSON object is required as the body")
    name = _POSITION.sub("", key)
    declared = request.route_handler.parsed_fn_signature.parameters.get(name)
    problem = FieldProblem(_sent_as(declared) or name, message[:1].lower() + message[1:])
    return broken_rules.one_of(problem, declared.annotation) if declared else problem
