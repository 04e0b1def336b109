"""`make bench`: runs the benchmarks of this project and of other task systems, on servers started
for them, and writes the measured ratios.

`python -m bench [name …]` runs only these benchmarks. `python -m bench cost api --against COMMIT`
compares the costs of this source tree with those of another commit. The exit code is 1 when a
figure could not be measured or misses its requirement.
"""

import argparse
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from bench import report
from bench.figure import Benchmark, Measured
from bench.figures import (
    answers,
    api,
    backlog,
    batch,
    console,
    cost,
    crowd,
    dropping,
    history,
    listeners,
    memory,
    pickup,
    post,
    readers,
    regression,
    scraping,
    snapshot,
    ten_ms,
    throughput,
    tracing,
    waiting,
    waiting_days,
    workflow_api,
    workflow_rates,
    workflow_rounds,
    workflow_waits,
    workflows,
)
from bench.stage import Stage

#: All benchmarks, in the order in which they run. Benchmarks that first store many tasks come last.
ALL = (
    throughput.BENCHMARK,
    regression.BENCHMARK,
    cost.BENCHMARK,
    tracing.BENCHMARK,
    crowd.BENCHMARK,
    scraping.BENCHMARK,
    ten_ms.BENCHMARK,
    pickup.BENCHMARK,
    memory.BENCHMARK,
    listeners.BENCHMARK,
    waiting.BENCHMARK,
    post.BENCHMARK,
    api.BENCHMARK,
    batch.BENCHMARK,
    workflows.BENCHMARK,
    workflow_rates.BENCHMARK,
    workflow_waits.BENCHMARK,
    workflow_rounds.BENCHMARK,
    workflow_api.BENCHMARK,
    backlog.BENCHMARK,
    waiting_days.BENCHMARK,
    dropping.BENCHMARK,
    history.BENCHMARK,
    answers.BENCHMARK,
    console.BENCHMARK,
    readers.BENCHMARK,
    snapshot.BENCHMARK,
)
BENCHMARKS = {benchmark.name: benchmark for benchmark in ALL}
#: The benchmarks that can also compare this source tree with another commit.
COMPARING = {cost.BENCHMARK.name: cost.against, api.BENCHMARK.name: api.against}

log = logging.getLogger("bench")


class Run:
    """Runs the benchmarks one after another. If one fails, the others still run."""

    def __init__(self, stage: Stage, rounds: int | None) -> None:
        self._stage, self._rounds = stage, rounds
        self.measured: list[Measured] = []
        self.failed: list[str] = []

    async def measure(self, chosen: Sequence[Benchmark]) -> None:
        """Run the benchmarks, and print each line of the table as soon as its figure is known."""
        await self._stage.open()
        try:
            print("\n".join(report.HEAD), flush=True)
            for benchmark in chosen:
                begun = time.monotonic()
                await self._one(benchmark)
                log.info("%s took %.0f s", benchmark.name, time.monotonic() - begun)
        finally:
            self._stage.close()

    async def _one(self, benchmark: Benchmark) -> None:
        try:
            lines = await benchmark.measure(self._stage, self._rounds or benchmark.rounds)
        except Exception:
            log.exception("%s could not be measured", benchmark.name)
            self.failed.append(benchmark.name)
            return
        self.measured += lines
        for measured in lines:
            print(report.line(measured), flush=True)

    @property
    def below(self) -> list[str]:
        """Names of the measured figures that miss their requirement."""
        return [measured.figure.name for measured in self.measured if measured.met is False]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure this project and other task systems."
    )
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of {', '.join(BENCHMARKS)}")
    parser.add_argument("--rounds", type=int, help="a trial with this number of rounds; nothing is saved")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="a trial with this share of tasks; nothing is saved"
    )
    parser.add_argument(
        "--against",
        metavar="COMMIT",
        help="compare cost or api with this commit instead of peers; nothing is saved",
    )
    arguments = parser.parse_args()
    if arguments.against and not (arguments.names and set(arguments.names) <= set(COMPARING)):
        parser.error(
            f"--against compares {' and '.join(COMPARING)} only: "
            f"python -m bench {cost.BENCHMARK.name} --against COMMIT"
        )
    for name in arguments.names:
        if name not in BENCHMARKS:
            parser.error(f"{name} is not a benchmark; known: {', '.join(BENCHMARKS)}")
    return arguments


def main() -> int:
    arguments = _arguments()
    logging.basicConfig(format="%(message)s")
    log.setLevel(logging.INFO)
    chosen = [BENCHMARKS[name] for name in arguments.names] or ALL
    if arguments.against:
        chosen = [COMPARING[name](arguments.against) for name in arguments.names]
    is_trial = arguments.rounds is not None or arguments.scale != 1 or arguments.against is not None
    folder = Path(tempfile.mkdtemp(prefix="often-bench-"))
    # If root runs this, PostgreSQL runs under its own account, which must be able to enter the
    # folder.
    folder.chmod(0o755)
    run = Run(Stage(folder, scale=arguments.scale), arguments.rounds)
    try:
        uvloop.run(run.measure(chosen))
    except KeyboardInterrupt:
        log.error("Interrupted: no results are saved; logs are in %s", folder)
        return 130
    if run.failed:
        log.error("%s could not be measured; logs are in %s", ", ".join(run.failed), folder)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    if run.measured and not is_trial:
        report.write(run.measured)
    if run.below:
        log.error("These figures miss their requirements, see docs/performance.md: %s", ", ".join(run.below))
    return 1 if run.failed or run.below else 0


if __name__ == "__main__":
    sys.exit(main())
