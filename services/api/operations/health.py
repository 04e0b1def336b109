"""Reports the current problems of the system.

Callers share one report for a moment, so additional open consoles cost nothing.
"""

from services.api.fresh import Fresh
from services.api.operations import wrong_now
from services.api.operations.health_facts import Facts, HealthFacts
from services.api.operations.health_schemas import SystemHealth

#: Maximum age in seconds of a health report that is shared. Pages of the console refresh every five
#: seconds.
FRESH_S = 4.0


class Health:
    """Creates the health report of the system for its route, the console and the command line."""

    def __init__(self, facts: HealthFacts) -> None:
        self._facts = facts
        self._report = Fresh(self._judged, FRESH_S)

    async def look(self) -> SystemHealth:
        """Return the health report of the system, at most FRESH_S seconds old. Works even while
        Postgres or Redis is unavailable.
        """
        return await self._report.get()

    async def _judged(self) -> SystemHealth:
        return _judge(await self._facts.read())


def _judge(facts: Facts) -> SystemHealth:
    problems = wrong_now.problems(facts)
    servers = {name: {"answer": answer} for name, answer in facts.servers.items()}
    servers["postgres"] |= dict(facts.postgres or {})
    servers["redis"] |= dict(facts.redis or {})
    return SystemHealth(
        checked_at=facts.at,
        verdict=wrong_now.verdict(problems),
        problems=problems,
        servers=servers,
        unknown=facts.unknown,
    )
