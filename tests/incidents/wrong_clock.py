"""`python -m tests.incidents.wrong_clock`: a worker with the sample tasks, whose clock seems to be
ten minutes slow.
"""

import sys
from datetime import datetime, timedelta, tzinfo
from typing import Any

from shared.ledger import database
from tests import sample_worker

SLOW_BY = timedelta(minutes=10)


class SlowClock(datetime):
    """A slow clock. The worker compares it with the clock of Postgres."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Any:
        return datetime.now(tz) - SLOW_BY


if __name__ == "__main__":
    setattr(database, "datetime", SlowClock)  # noqa: B010
    sys.exit(sample_worker.main())
