"""What a fault did to the system, judged and as a row of the table."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tests.drill.fault import Fault
from tests.drill.ledger import Count
from tests.drill.recovery import Recovery
from tests.drill.work import Fresh

#: Recovery may take this many times what the design promises: the machine is shared.
PATIENCE = 3
#: New work completes within this time, however long ids take that were lost with Redis. Where workers died,
#: it may wait for their rescue.
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
    """What a fault cost."""

    fault: Fault
    in_flight: int
    #: From the end of the fault until nothing is orphaned, overdue or missing in Redis.
    recovery: Recovery
    fresh: Fresh
    #: Tasks that are not final `fault.settle_s` later.
    stuck: int
    count: Count
    #: Processes that ended by themselves.
    ended: Mapping[str, int]
    #: Processes that live and do not work.
    idle: list[str]
    #: Answers of the API that break its promises.
    wrong: Mapping[str, int]
    #: A check of the fault itself that failed.
    failed: str
    note: str
    #: The whole scenario, from its empty database to its last check.
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
