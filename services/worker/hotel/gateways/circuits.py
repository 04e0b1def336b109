"""Circuit breakers: a part of a provider that keeps failing gets no requests for a while."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import OpenedState

#: Number of failures in a row after which a part of a provider gets no requests, and for how many
#: seconds.
FAILURES, REST_S = 5, 30
#: Maximum number of circuit breakers. Names of parts, such as hosts of push services, come from
#: clients, so memory has to be limited. If there are more, all breakers start again as closed.
MAX_CIRCUITS = 1_000


class Resting(Exception):
    """Raised instead of a call to a part of a provider that has failed too often and gets no
    requests now.
    """


class Circuits:
    """A circuit breaker for each part of a provider that can fail independently of the others."""

    def __init__(self, failure: type[Exception], *, clock: Callable[[], float] = time.time) -> None:
        """Only errors of the class `failure` count as failures of the provider."""
        self._failure = failure
        self._clock = clock
        self._known: set[str] = set()
        #: Time at which the circuit of each part was opened. The library removes an open state only
        #: when the part is called next, so an entry may be older than REST_S.
        self._rested_at: dict[str, float] = {}
        self._factory = self._made()

    @property
    def resting(self) -> int:
        """Number of parts that get no requests at the moment."""
        # Copying the values is atomic, which is needed because another thread reads this metric.
        now, began = self._clock(), list(self._rested_at.values())
        return sum(now <= since + REST_S for since in began)

    def _made(self) -> AsyncCircuitBreakerFactory:
        factory = AsyncCircuitBreakerFactory(FAILURES, REST_S)
        factory.add_listener(self._note)
        return factory

    def _note(self, part: str, kind: str, event: Any) -> None:
        if kind != "state_changed":
            return
        if event.state == "opened":
            self._rested_at[part] = event.opened_at
        else:
            self._rested_at.pop(part, None)

    @asynccontextmanager
    async def watched(self, part: str) -> AsyncIterator[None]:
        """Watch one call to a part, made inside this context. Raises Resting immediately while its
        circuit is open.
        """
        breaker = await self._factory_for(part).get_breaker(part)
        try:
            await breaker.__aenter__()
        except OpenedState:
            raise Resting from None
        try:
            yield
        except self._failure as error:
            await breaker.__aexit__(type(error), error, error.__traceback__)
            raise
        # After another error, such as a refused address or a cancellation, the breaker's exit is
        # not called, because the library would count the error as a failure or a success.
        await breaker.__aexit__(None, None, None)

    def _factory_for(self, part: str) -> AsyncCircuitBreakerFactory:
        if part not in self._known and len(self._known) >= MAX_CIRCUITS:
            self._known.clear()
            self._rested_at.clear()
            self._factory = self._made()
        self._known.add(part)
        return self._factory
