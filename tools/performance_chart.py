"""Draws docs/performance.svg from the table of a dated measurement: `python -m tools.performance_chart`.

The chart shows throughput ratios only. `make bench` draws a larger one of all figures.
"""

import math
import re
from dataclasses import dataclass
from html import escape
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "measurements" / "2026-12-01.md"
CHART = DOCS / "performance.svg"

TITLE = "Throughput of no-op tasks: this project ÷ the other system"
NOTE = "Bar: median of the rounds. Line: smallest to largest. Logarithmic scale, two worker processes each."
PREFIX = "throughput ÷ "

WIDTH, LEFT, RIGHT, TOP, STEP, BAR = 840, 310, 70, 56, 28, 16
#: Ticks of the chart's axis. The axis ranges from the first tick to the last one.
TICKS = (0.5, 1, 2, 5, 10, 20, 50, 100)
FONT = 'font-family="system-ui, sans-serif" font-size="13" fill="#1f2933"'


@dataclass(frozen=True, slots=True)
class Ratio:
    """Comparison with one peer (another task system): the median, lowest and highest throughput
    ratio of all rounds.
    """

    peer: str
    median: float
    low: float
    high: float


def read(page: str) -> list[Ratio]:
    """Read the throughput ratios from the table on the page.

    Returns them with the smallest first.
    """
    rows = re.findall(rf"^\| {PREFIX}([^|]+) \| ([\d.]+) \| ([\d.]+) to ([\d.]+) \|", page, re.MULTILINE)
    ratios = [Ratio(peer, float(median), float(low), float(high)) for peer, median, low, high in rows]
    return sorted(ratios, key=lambda ratio: ratio.median)


def draw(ratios: list[Ratio]) -> str:
    """Draw the chart as an SVG document."""
    bottom = TOP + STEP * len(ratios)
    height = bottom + 60
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(TITLE)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="16" y="28" {FONT} font-weight="bold">{escape(TITLE)}</text>',
        *(_tick(tick, bottom) for tick in TICKS),
        *(line for place, ratio in enumerate(ratios) for line in _bar(ratio, TOP + STEP * place)),
        f'<text x="16" y="{bottom + 46}" {FONT}>{escape(NOTE)}</text>',
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _bar(ratio: Ratio, top: int) -> list[str]:
    one, end = sorted((_x(1), _x(ratio.median)))
    middle = top + STEP // 2
    label = f"{ratio.median:.3g}"
    return [
        f'<text x="{LEFT - 12}" y="{middle + 4}" text-anchor="end" {FONT}>{escape(ratio.peer)}</text>',
        f'<rect x="{one:.1f}" y="{middle - BAR // 2}" width="{end - one:.1f}" height="{BAR}"'
        ' fill="#2a6f97"/>',
        f'<line x1="{_x(ratio.low):.1f}" x2="{_x(ratio.high):.1f}" y1="{middle}" y2="{middle}"'
        ' stroke="#e07a1f" stroke-width="2"/>',
        f'<text x="{_x(ratio.high) + 10:.1f}" y="{middle + 4}" {FONT}>{label}</text>',
    ]


def _tick(tick: float, bottom: int) -> str:
    x, color = _x(tick), "#1f2933" if tick == 1 else "#d5dbe1"
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{bottom}" stroke="{color}"/>'
        f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle" {FONT}>{tick:g}</text>'
    )


def _x(value: float) -> float:
    share = math.log(value / TICKS[0]) / math.log(TICKS[-1] / TICKS[0])
    return LEFT + share * (WIDTH - LEFT - RIGHT)


if __name__ == "__main__":
    CHART.write_text(draw(read(PAGE.read_text())))
