"""Decides whether a drill scenario passed, and formats its results as a row of the report's
table.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tests.drill.fault import Fault
from tests.drill.ledger import Count
from tests.drill.recovery import Recovery
from tests.drill.work import Fresh

#: Factor by which recovery may exceed the promised time, because the machine is shared with other
#: programs.
PATIENCE = 3
#: Seconds within which new tasks must complete, even while the ids that were lost with Redis are
#: still being restored. After the death of a worker, the limit is the promised recovery instead.
FRESH_S = 5.0


def _row(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


COLUMNS = (
    "fault",
    "in flight",
    "recovery, s",
    "new work accepted / completed, s",
    "lost",
    "doubled",
    "misinformed",
    "stuck",
    "effects not once",
    "blamed",
    "wrong end",
    "misjudged",
    "ran twice",
    "reruns",
    "busy task rerun",
    "ended",
    "idle",
    "wrong answers",
    "took, s",
    "",
)
HEAD = f"{_row(COLUMNS)}\n|{'---|' * len(COLUMNS)}"


@dataclass(frozen=True, kw_only=True)
class Report:
    """The measured effects of a fault."""

    fault: Fault
    in_flight: int
    #: Time from the end of the fault until no task was held by a dead worker, overdue, or missing
    #: in Redis.
    recovery: Recovery
    fresh: Fresh
    #: Number of tasks that had not ended `fault.settle_s` seconds after the fault.
    stuck: int
    count: Count
    #: Number of processes that ended by themselves, by their name.
    ended: Mapping[str, int]
    #: Names of the processes that were alive but did not work.
    idle: list[str]
    #: Number of answers that the API must never give, by kind.
    wrong: Mapping[str, int]
    #: Message of the fault's own check, if it failed. Empty if it passed.
    failed: str
    note: str
    #: Duration of the whole scenario in seconds, from creating its database to its last check.
    took_s: float

    @property
    def broken(self) -> list[str]:
        signs = {
            "stuck": self.stuck,
            "late": self.recovery.seconds > PATIENCE * self.fault.promised_s,
            "late new work": self.fresh.seconds > (self.fault.promised_s if self.fault.deaths else FRESH_S),
            "ended": self.ended,
            "idle": self.idle,
            "wrong answers": self.wrong,
            self.failed: self.failed,
        }
        return [
            *self.count.broken(deaths=self.fault.deaths, again=self.fault.deaths_again),
            *(name for name, is_broken in signs.items() if is_broken),
        ]

    def row(self) -> str:
        count = self.count
        cells = (
            f"{self.fault.title}{': ' if self.note else ''}{self.note}",
            self.in_flight,
            f"{self.recovery} of {self.fault.promised_s:g}",
            self.fresh,
            *(count.lost, count.doubled, count.misinformed, self.stuck, count.effects_wrong, count.blamed),
            *(count.wrong_end, count.misjudged, count.ran_twice, count.reruns, count.spin_reruns),
            _times(self.ended),
            ", ".join(self.idle) or 0,
            _times(self.wrong),
            round(self.took_s),
            f"BROKEN: {', '.join(self.broken)}" if self.broken else "sound",
        )
        return _row(cells)


def _times(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{times} x {what}" for what, times in counts.items()) or "0"
