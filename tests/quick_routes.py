"""Makes it cheap for tests to build the API again and again in one process. Processes of the API
that tests start register their routes without this.
"""

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Final

from litestar._signature import SignatureModel
from litestar.di import Provide
from litestar.handlers import BaseRouteHandler
from litestar.utils.signature import ParsedSignature

_parse: Final = ParsedSignature.from_fn
_make_model: Final = SignatureModel.create
_compare: Final = BaseRouteHandler._validate_dependency_is_unique
_parsed: dict[object, ParsedSignature] = {}
_models: dict[object, type[SignatureModel]] = {}


def install() -> None:
    """Make Litestar reuse what it derives from the function of a route or a dependency, and copy
    routes without copying what they contain. Building an API then takes half the processor time.
    """
    ParsedSignature.from_fn = _parse_once  # type: ignore[method-assign]
    SignatureModel.create = _make_model_once  # type: ignore[method-assign]
    BaseRouteHandler._validate_dependency_is_unique = staticmethod(_require_unique)  # type: ignore[method-assign]
    BaseRouteHandler.__deepcopy__ = _copy_handler  # type: ignore[attr-defined]


def _signature_of(function: Callable[..., Any]) -> object | None:
    """A value that is equal for functions with the same signature; None if none is known.

    A function that another one defines is created again for each API.
    """
    if not inspect.isfunction(function):
        return None
    if "<locals>" not in function.__qualname__:
        return function
    if function.__defaults__ or function.__kwdefaults__:
        return None
    return function.__code__, tuple(function.__annotations__.items())


def _parse_once(fn: Callable[..., Any], signature_namespace: dict[str, Any]) -> ParsedSignature:
    signature = _signature_of(fn)
    if signature is None:
        return _parse(fn, signature_namespace)
    key = (signature, frozenset(signature_namespace.items()))
    if key not in _parsed:
        _parsed[key] = _parse(fn, signature_namespace)
    return _parsed[key]


def _make_model_once(
    dependency_name_set: set[str],
    fn: Callable[..., Any],
    parsed_signature: ParsedSignature,
    type_decoders: Sequence[Any],
    data_dto: type[Any] | None = None,
) -> type[SignatureModel]:
    signature = _signature_of(fn)
    if signature is None:
        return _make_model(dependency_name_set, fn, parsed_signature, type_decoders, data_dto)
    # Each API has decoders of its own. Their predicates are the same.
    decoded = tuple(predicate for predicate, _ in type_decoders)
    key = (signature, frozenset(dependency_name_set), decoded, data_dto)
    if key not in _models:
        _models[key] = _make_model(dependency_name_set, fn, parsed_signature, type_decoders, data_dto)
    return _models[key]


def _require_unique(dependencies: dict[str, Provide], key: str, provider: Provide) -> None:
    """Compare a dependency with those of other names one by one only if one has the same function."""
    if provider.dependency in [other.dependency for other in dependencies.values()]:
        _compare(dependencies, key, provider)


def _copy_handler(handler: BaseRouteHandler, memo: dict[int, Any]) -> BaseRouteHandler:
    """Copy a handler together with the router that owns it. Only its collections are copied, not
    their elements, because registering a route changes none of them.
    """
    copied = memo[id(handler)] = copy.copy(handler)
    for kind in type(handler).__mro__:
        for name in getattr(kind, "__slots__", ()):
            value = getattr(copied, name, None)
            if isinstance(value, list | dict | set):
                setattr(copied, name, value.copy())
    copied.owner = copy.deepcopy(handler.owner, memo)
    return copied
