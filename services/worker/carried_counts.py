"""Metric counts that survive the replacement of a worker process.

When a process replaces itself by exec, these counters would restart at 0 before Prometheus has read
their last value. They are therefore passed to the next process in an environment variable.
"""

import logging
import os
from typing import Self

import msgspec

from services.worker.ending import REPLACED, Ending
from shared.telemetry import metrics

log = logging.getLogger(__name__)

VARIABLE = "WORKER_COUNTS"


class CarriedCounts(msgspec.Struct):
    """The counts of this process, including those of the processes that it has replaced."""

    refused: int = 0
    #: Number of replacements, by the reason that the metric shows as a label.
    replaced: dict[str, int] = msgspec.field(default_factory=dict)

    @classmethod
    def restore(cls) -> Self:
        """Take over the counts that the previous process left in the environment variable."""
        try:
            counts = msgspec.json.decode(os.environ.pop(VARIABLE, "{}"), type=cls)
        except msgspec.MsgspecError:
            log.warning(
                "the counters that the previous worker left in %s cannot be read; they restart at 0",
                VARIABLE,
                exc_info=True,
            )
            counts = cls()
        metrics.expect_replacements(REPLACED.values())
        metrics.RECORDED.labels("refused").inc(counts.refused)
        for reason, count in counts.replaced.items():
            metrics.REPLACED.labels(reason).inc(count)
        return counts

    def leave(self, ending: Ending, refused: int) -> None:
        """Store the counts in the environment variable for the next process.

        `refused` is the number of records of this process that Postgres refused.
        """
        self.refused += refused
        reason = REPLACED.get(ending)
        if reason is not None:
            self.replaced[reason] = self.replaced.get(reason, 0) + 1
        os.environ[VARIABLE] = msgspec.json.encode(self).decode()
