"""Measures the throughput of this source tree, compared with the commit that a git tag names as the
baseline.
"""

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import throughput_of_tree
from bench.checkout import check_out, tagged
from bench.figure import Benchmark, Figure, Measured, Round
from bench.figures.throughput import COUNT
from bench.stage import Stage
from tests.platform import ROOT

log = logging.getLogger(__name__)

TAG = "speed-baseline"
#: Folder under `var/bench` for the checked-out source tree of the baseline.
BASELINE = "baseline"

FIGURE = Figure(
    "regression",
    f"no-op tasks/s of this tree, {COUNT:,} queued first, two processes ÷ of the commit tagged {TAG}",
    required=0.95,
)


async def measure(stage: Stage, rounds: int) -> Sequence[Measured]:
    if not tagged(TAG):
        log.warning(
            "No commit has the git tag %s, so this figure is skipped. Tag the commit to compare with.", TAG
        )
        return []
    baseline = check_out(TAG, BASELINE)
    measured = Measured(FIGURE, "tasks/s")
    for number in range(rounds):
        trees = [ROOT, baseline]
        rates = {tree: await _rate(tree, stage) for tree in (trees if number % 2 == 0 else reversed(trees))}
        measured.rounds.append(Round(rates[ROOT], rates[baseline]))
        log.info("rate of this tree: %.0f tasks/s, of %s: %.0f tasks/s", rates[ROOT], TAG, rates[baseline])
    return [measured]


async def _rate(tree: Path, stage: Stage) -> float:
    """The task rate of a source tree. Migrations, submitter, scheduler and workers are all run from
    that tree.
    """
    await stage.settle()
    logs = tempfile.mkdtemp(prefix="regression-", dir=stage.folder)
    program = [sys.executable, "-m", throughput_of_tree.__name__, str(stage.count(COUNT)), logs]
    servers = {"DATABASE_URL": stage.create_database(), "REDIS_URL": stage.redis_url}
    return float(_output(program, cwd=tree, env={**os.environ, **servers}))


def _output(command: Sequence[str], **options: Any) -> str:
    ended: subprocess.CompletedProcess[str] = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, **options
    )
    return ended.stdout


BENCHMARK = Benchmark("regression", measure)
