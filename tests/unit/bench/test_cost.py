import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from bench import __main__ as command_line
from bench import report, tally, tasks, tree
from bench.figure import Figure, Measured, Round, interval_of_median
from bench.processor import Meter, Reading, spent

#: Seconds of processor time that the child process uses. The kernel counts it in steps of STEP_S.
SPENT_S = 0.2
STEP_S = 0.01

#: A program whose child process uses SPENT_S seconds of processor time. It then waits until its
#: standard input is closed.
FAMILY = f"""
import os, sys, time
child = os.fork()
if not child:
    while time.process_time() < {SPENT_S}:
        pass
    if {{ends}}:
        os._exit(0)
    print(os.getpid(), flush=True)
    sys.stdin.read()
    os._exit(0)
if {{ends}}:
    os.waitpid(child, 0)
    print(child, flush=True)
sys.stdin.read()
"""


@contextmanager
def family(*, ends: bool) -> Iterator[tuple[psutil.Process, int]]:
    """Run the program.

    Yields the parent process, and the child's pid once the child has used its time.
    """
    command = [sys.executable, "-c", FAMILY.format(ends=ends)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        yield psutil.Process(parent.pid), int(parent.stdout.readline())
        assert parent.stdin is not None
        parent.stdin.close()


@pytest.mark.parametrize("ends", [True, False])
def test_a_child_is_counted_whether_it_runs_or_has_ended(ends: bool) -> None:
    with family(ends=ends) as (parent, _):
        assert spent(parent) >= SPENT_S - STEP_S


def test_a_live_child_can_be_left_out() -> None:
    with family(ends=False) as (parent, child):
        assert spent(parent) - spent(parent, without=[child]) >= SPENT_S - STEP_S


@dataclass
class Backend:
    """A simulated child process that has used 5 s of processor time.

    It ends as soon as it or its parent has been read.
    """

    ended: bool = False
    pid: int = 2

    def cpu_times(self) -> tuple[float, ...]:
        if self.ended:
            raise psutil.NoSuchProcess(self.pid)
        self.ended = True
        return 5.0, 0.0, 0.0, 0.0, 0.0


@dataclass
class Postmaster:
    backend: Backend = field(default_factory=Backend)
    pid: int = 1

    def children(self, *, recursive: bool) -> list[Backend]:
        return [] if self.backend.ended else [self.backend]

    def cpu_times(self) -> tuple[float, ...]:
        """The parent's times. Once the child has ended, they include the child's 5 s."""
        before, self.backend.ended = self.backend.ended, True
        return 1.0, 0.0, 5.0 if before else 0.0, 0.0, 0.0


def test_a_child_that_ends_during_a_reading_is_counted_once() -> None:
    assert spent(Postmaster()) == 6.0  # type: ignore[arg-type]


def test_the_cost_is_that_of_the_tasks_between_two_readings() -> None:
    begin = Reading(10_000, {"workers": 3.0, "Postgres": 1.0})
    cost = Reading(40_000, {"workers": 6.0, "Postgres": 2.5}).since(begin)
    assert cost.parts == {"workers": pytest.approx(100), "Postgres": pytest.approx(50)}
    assert str(cost) == "150 µs (workers 100, Postgres 50)"


def test_without_tasks_between_two_readings_there_is_no_cost() -> None:
    with pytest.raises(ValueError, match="queue more"):
        Reading(40_000, {}).since(Reading(40_000, {}))


async def test_a_reading_waits_until_every_process_is_at_work(tmp_path: Path) -> None:
    (tmp_path / "1.tally").write_text("10000 0.0 2.0")
    looks = 0

    def second_process_begins_late() -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            (tmp_path / "2.tally").write_text("1 2.0 2.1")

    span = await tally.reaches(tmp_path, 5_000, second_process_begins_late, processes=2, look_every_s=0)
    assert (span.processes, span.count, looks) == (2, 10_001, 3)


def test_a_meter_adds_up_the_processes_of_a_part() -> None:
    reading = Meter({"workers": [Postmaster(), Postmaster()], "Redis": []}).read(7)  # type: ignore[list-item]
    assert reading == Reading(7, {"workers": 12.0, "Redis": 0})


@pytest.mark.parametrize(
    ("count", "low", "high", "confidence"),
    [(1, 1, 1, 0.0), (5, 1, 5, 0.9375), (6, 1, 6, 0.96875), (9, 2, 8, 0.9609), (20, 6, 15, 0.9586)],
)
def test_the_interval_is_the_narrowest_that_covers_the_median_often_enough(
    count: int, low: int, high: int, confidence: float
) -> None:
    interval = interval_of_median([float(n) for n in range(count, 0, -1)])
    assert (interval.low, interval.high) == (low, high)
    assert interval.confidence == pytest.approx(confidence, abs=1e-4)


def change(*ratios: float, required: float = 1.03, lower: bool = True) -> Measured:
    figure = Figure("a", "new ÷ old", required, lower_is_better=lower, by_interval=True)
    return Measured(figure, "µs", [Round(100 * ratio, 100) for ratio in ratios])


def test_a_change_is_refused_only_when_its_whole_interval_is_beyond_the_limit() -> None:
    assert change(0.9, 1.02, *[1.05] * 7).met is True
    assert change(0.9, *[1.05] * 8).met is False
    assert change(*[0.95] * 7, 0.98, 1.1, required=0.97, lower=False).met is True
    assert change(*[0.95] * 8, 1.1, required=0.97, lower=False).met is False


def test_a_line_shows_the_interval_where_it_decides() -> None:
    cells = report.line(change(0.9, 1.02, *[1.05] * 6, 1.2)).split(" | ")
    assert cells[2] == "0.9 to 1.2; 96% interval 1.02 to 1.05"


def test_the_tasks_of_this_tree_keep_the_contract_between_trees() -> None:
    assert (tasks.NOOP.name, tasks.NOOP.queue) == (tree.NOOP, tree.QUEUE)
    assert tree.NOOP in tasks.TASKS


@pytest.mark.parametrize("names", [[], ["throughput"], ["cost", "throughput"]])
def test_only_the_cost_can_be_compared_with_a_commit(
    names: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", *names, "--against", "HEAD"])
    with pytest.raises(SystemExit):
        command_line._arguments()
    assert "--against compares cost and api only" in capsys.readouterr().err
