"""API calls for statistics of tasks. The statistics lag behind by a few seconds."""

from often_client.answers import Kinds, Series, TaskSummary, Waits
from often_client.exchange import Call, Steps
from often_client.methods import Calls, method


class StatisticsCalls(Calls):
    @method
    def summary(self) -> Steps[TaskSummary]:
        """Return the number of tasks by state. Users see the counts of their own tasks."""
        return self._ask(Call("GET", "tasks/stats/summary", TaskSummary))

    @method
    def series(
        self, *, hours: int | None = None, queue: str | None = None, name: str | None = None
    ) -> Steps[Series]:
        """Return the numbers of tasks that ended in each interval of a period."""
        query = {"hours": hours, "queue": queue, "name": name}
        return self._ask(Call("GET", "tasks/stats/series", Series, query=query))

    @method
    def kinds(self, *, hours: int | None = None) -> Steps[Kinds]:
        """Return outcomes and durations for each kind of task."""
        return self._ask(Call("GET", "tasks/stats/kinds", Kinds, query={"hours": hours}))

    @method
    def waits(self, *, hours: int | None = None) -> Steps[Waits]:
        """Return how many tasks wait now, and how long tasks have waited."""
        return self._ask(Call("GET", "tasks/stats/waits", Waits, query={"hours": hours}))
