"""Turns one description of an API call into a method of the sync client and of the async client.

The functions in `calls/` describe API calls. The descriptors in this module pass the description to
the client, which carries it out. So both clients have the same methods with the same arguments.
"""

import functools
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from types import MethodType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from often_client.answers import Page
from often_client.events import Event
from often_client.exchange import Call, Session, Steps, perform

if TYPE_CHECKING:
    from often_client.async_client import AsyncClient
    from often_client.client import Client

P = ParamSpec("P")
A = TypeVar("A")


class Calls:
    """Base class of the classes in `calls/`, which describe the API calls."""

    session: Session

    def _ask(self, call: Call[A]) -> Steps[A]:
        return perform(self.session, call)


class Described(Generic[P, A]):
    """Base class of the descriptors that turn a description of an API call into a method."""

    #: Name of the client's method that carries out the described call.
    carried_out_by: str

    def __init__(self, describe: Callable[Concatenate[Any, P], A]) -> None:
        self.describe = describe
        self.__name__, self.__doc__ = describe.__name__, describe.__doc__

    def _bound(self, client: Any) -> Any:
        if client is None:
            return self
        carry_out = getattr(client, self.carried_out_by)

        describe = MethodType(self.describe, client)

        @functools.wraps(describe)
        def call(*arguments: P.args, **named: P.kwargs) -> Any:
            return carry_out(describe(*arguments, **named))

        return call


class method(Generic[A, P], Described[P, Steps[A]]):
    """Descriptor for an API call with one answer."""

    carried_out_by = "run"

    @overload
    def __get__(self, client: None, owner: Any) -> Self: ...
    @overload
    def __get__(self, client: "Client", owner: Any) -> Callable[P, A]: ...
    @overload
    def __get__(self, client: "AsyncClient", owner: Any) -> Callable[P, Coroutine[Any, Any, A]]: ...
    def __get__(self, client: Any, owner: Any) -> Any:
        return self._bound(client)


class listing(Generic[A, P], Described[P, Call[Page[A]]]):
    """Descriptor for an API call that returns a list, which is read page by page."""

    carried_out_by = "iterate"

    @overload
    def __get__(self, client: None, owner: Any) -> Self: ...
    @overload
    def __get__(self, client: "Client", owner: Any) -> Callable[P, Iterator[A]]: ...
    @overload
    def __get__(self, client: "AsyncClient", owner: Any) -> Callable[P, AsyncGenerator[A, None]]: ...
    def __get__(self, client: Any, owner: Any) -> Any:
        return self._bound(client)


class stream(Generic[P], Described[P, Call[None]]):
    """Descriptor for an API call that opens an event stream."""

    carried_out_by = "follow"

    @overload
    def __get__(self, client: None, owner: Any) -> Self: ...
    @overload
    def __get__(self, client: "Client", owner: Any) -> Callable[P, Iterator[Event]]: ...
    @overload
    def __get__(self, client: "AsyncClient", owner: Any) -> Callable[P, AsyncGenerator[Event, None]]: ...
    def __get__(self, client: Any, owner: Any) -> Any:
        return self._bound(client)
