"""Reports the benchmark figures: as lines of a table, in a JSON file, as a plot, and in
`docs/performance.md`.
"""

import dataclasses
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import environments
from bench.figure import Figure, Measured
from tests.platform import ROOT

FOLDER = ROOT / "var" / "bench"
PLOT = Path(__file__).parent / "plot"
PAGE = ROOT / "docs" / "performance.md"
#: Markers around the table of figures in docs/performance.md. Everything between them is replaced.
BEGIN, END = "<!-- figures: written by make bench -->", "<!-- end of figures -->"

COLUMNS = (
    "figure",
    "median",
    "spread",
    "required",
    "target",
    "met",
    "this project",
    "other side",
    "rounds",
    "what it is",
)
HEAD = (f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|")


def line(measured: Measured) -> str:
    """Format a measured figure as a line of the table."""
    figure, (low, high) = measured.figure, measured.spread
    alone = all(r.theirs == 1 for r in measured.rounds)
    cells = [
        figure.name,
        _number(measured.ratio),
        f"{_number(low)} to {_number(high)}{_interval(measured)}",
        _aim(figure, figure.required),
        _aim(figure, figure.target),
        {True: "yes", False: "**no**", None: ""}[measured.met],
        f"{_number(measured.median_of('ours'))} {measured.unit}",
        "" if alone else f"{_number(measured.median_of('theirs'))} {measured.unit}",
        str(len(measured.rounds)),
        figure.definition,
    ]
    return f"| {' | '.join(cells)} |"


def write(all_measured: Sequence[Measured]) -> None:
    """Write the JSON file, the plot and the table in `docs/performance.md`. The table's lines were
    already printed during the run.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "latest.json").write_text(json.dumps([_facts(m) for m in all_measured], indent=2) + "\n")
    _draw(all_measured, FOLDER / "latest.png")
    PAGE.write_text(merged(PAGE.read_text(), [line(m) for m in all_measured]))


def merged(page: str, lines: Sequence[str]) -> str:
    """Returns the page with these lines in its table. Lines of figures that were not measured are
    kept.
    """
    before, rest = page.split(BEGIN)
    table, after = rest.split(END)
    rows = {_name(row): row for row in table.strip().splitlines()[len(HEAD) :]}
    rows |= {_name(row): row for row in lines}
    return "\n".join([before + BEGIN, "", *HEAD, *rows.values(), "", END + after])


def _name(row: str) -> str:
    return row.split("|")[1].strip()


def _facts(measured: Measured) -> dict[str, Any]:
    return {
        "figure": measured.figure.name,
        "ratio": measured.ratio,
        "required": measured.figure.required,
        "target": measured.figure.target,
        "interval": dataclasses.asdict(measured.interval),
        "met": measured.met,
        "rounds": [{"ours": r.ours, "theirs": r.theirs, "ratio": r.ratio} for r in measured.rounds],
    }


def _draw(all_measured: Sequence[Measured], image: Path) -> None:
    facts = [_facts(m) | {"lower_is_better": m.figure.lower_is_better} for m in all_measured]
    python = environments.settle(PLOT / "requirements.txt") / "python"
    subprocess.run([python, PLOT / "draw.py", image], input=json.dumps(facts), text=True, check=True)


def _interval(measured: Measured) -> str:
    """The confidence interval of the median as text, for figures that are judged by it; empty for
    others.
    """
    if not measured.figure.by_interval:
        return ""
    interval = measured.interval
    return f"; {interval.confidence:.0%} interval {_number(interval.low)} to {_number(interval.high)}"


def _aim(figure: Figure, value: float | None) -> str:
    if value is None:
        return ""
    return f"{'≤' if figure.lower_is_better else '≥'} {value:g}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
