"""What the console's start page shows to all users who may see all tasks.

Each part is read once and shared by all open pages.
"""

from typing import Final

from services.api.bulk.bulk_view import BulkView
from services.api.fresh import Fresh
from services.api.operations.queues import QueueControls
from services.api.operations.workers import Workers
from services.api.schedules.schedule_view import ScheduleView
from services.api.tasks.statistics import StatisticsView

WORKERS: Final = 20
SCHEDULES: Final = 100
FIRINGS: Final = 6
#: Number of bulk operations, newest first, among which the page looks for running ones.
ACTS: Final = 20
#: Maximum ages in seconds of the shared parts: the figures of the last day, and all others. Pages
#: refresh every five seconds. The figures of the last day are kept longer, because they change slowly
#: and cost Postgres fifty times as much as all others.
DAY_S, FRESH_S = 60.0, 4.0


class OverviewFigures:
    """Caches the parts of the start page. Each `get` raises ReadTooSlow or ServerUnavailable if
    its part cannot be read.
    """

    def __init__(
        self,
        statistics: StatisticsView,
        workers: Workers,
        queues: QueueControls,
        schedules: ScheduleView,
        bulk: BulkView,
    ) -> None:
        self.hour = Fresh(lambda: statistics.series(1, None, None), FRESH_S)
        self.day = Fresh(lambda: statistics.series(24, None, None), DAY_S)
        self.waits = Fresh(lambda: statistics.waits(1), FRESH_S)
        self.workers = Fresh(lambda: workers.page(dead=False, limit=WORKERS, cursor=None), FRESH_S)
        self.queues = Fresh(queues.all, FRESH_S)
        self.firings = Fresh(lambda: schedules.next_firings(FIRINGS, among=SCHEDULES), FRESH_S)
        self.acts = Fresh(lambda: bulk.page(None, limit=ACTS, cursor=None), FRESH_S)
