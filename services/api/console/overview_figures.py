"""Figures on the console's start page for all users who may see all tasks.

They are read once and shared by all open pages.
"""

from typing import Final

from services.api.fresh import Fresh
from services.api.operations.workers import Workers
from services.api.tasks.statistics import StatisticsView

WORKERS: Final = 20
#: Maximum ages in seconds of three cached results: the figures of the last hour, those of the last
#: day, and the workers. Pages refresh every five seconds. The figures of the last day are kept
#: longest, because they change slowly and cost Postgres fifty times as much as all others.
FIGURES_S, DAY_S, WORKERS_S = 4.0, 60.0, 2.0


class OverviewFigures:
    """Caches the figures of the last hour and of the last day, the waiting tasks, and the living
    workers.
    """

    def __init__(self, statistics: StatisticsView, workers: Workers) -> None:
        self.hour = Fresh(lambda: statistics.series(1, None, None), FIGURES_S)
        self.day = Fresh(lambda: statistics.series(24, None, None), DAY_S)
        self.waits = Fresh(lambda: statistics.waits(1), FIGURES_S)
        self.workers = Fresh(lambda: workers.page(dead=False, limit=WORKERS, cursor=None), WORKERS_S)
