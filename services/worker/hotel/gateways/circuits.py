"""Circuit breakers: what fails again and again is left alone for a while."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import OpenedState

#: After this many failures in a row, a part of a provider rests for this many seconds.
FAILURES, REST_S = 5, 30
#: Names come from clients, as hosts of push services. Beyond this number all circuits are closed again.
MAX_CIRCUITS = 1_000


class Resting(Exception):
    """This part has failed too often and is not called for now."""


class Circuits:
    """One circuit for each part of a provider that fails by itself."""

    def __init__(self, failure: type[Exception]) -> None:
        """`failure` is what counts against the provider. Any other error says nothing about it."""
        self._failure = failure
        self._known: set[str] = set()
        self._factory = AsyncCircuitBreakerFactory(FAILURES, REST_S)

    @asynccontextmanager
    async def watched(self, part: str) -> AsyncIterator[None]:
        """Call the provider inside. Raises Resting instead while the circuit is open."""
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
        # Other errors, such as a refused address or a cancellation, do not come here: the library would take
        # them for a failure or a success.
        await breaker.__aexit__(None, None, None)

    def _factory_for(self, part: str) -> AsyncCircuitBreakerFactory:
        if part not in self._known and len(self._known) >= MAX_CIRCUITS:
            self._known.clear()
            self._factory = AsyncCircuitBreakerFactory(FAILURES, REST_S)
        self._known.add(part)
        return self._factory
