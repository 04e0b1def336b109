"""Draws a Grafana dashboard: `draw.py IMAGE` reads it as JSON from standard input and writes a
picture.

Needs matplotlib. The picture shows where the panels are and what they contain, not every detail of
Grafana's look.
"""

import json
import sys
from datetime import UTC, datetime
from typing import Any

import matplotlib

matplotlib.use("Agg")  # this matplotlib backend needs no screen
from matplotlib import pyplot, ticker

#: The grid of a Grafana dashboard: its number of columns, and the inches of the picture per column
#: and per row.
COLUMNS, WIDE, HIGH = 24, 0.75, 0.38
COLORS = {"green": "#73bf69", "orange": "#ff9830", "red": "#f2495c", None: "#cccccc"}
MOST_LINES, MOST_ROWS = 12, 9
LIMIT = "limit"
UNITS = {"s": "s", "percentunit": "%", "bytes": "B", "bool_yes_no": ""}


def readable(value: float, unit: str) -> str:
    """Format a value with its unit as a short text."""
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    if unit == "bytes":
        return f"{value / 2**20:.1f} MB"
    if unit == "bool_yes_no":
        return "yes" if value else "no"
    if unit == "dateTimeFromNow":
        return datetime.fromtimestamp(value / 1000, UTC).strftime("%d. %H:%M")
    if unit == "s" and value >= 120:
        return f"{value / 60:.1f} min"
    return f"{value:.3g}{' s' if unit == 's' else ''}"


def tile(axes: Any, panel: dict[str, Any]) -> None:
    value = panel["series"][0]["values"][-1][1] if panel["series"] else None
    color = next((c for at, c in reversed(panel["steps"]) if at is None or (value or 0) >= at), None)
    axes.set_facecolor(COLORS.get(color if value is not None else None, "#cccccc"))
    word = panel["named"].get(f"{value:g}") if value is not None else "unknown"
    text = word or readable(value, panel["unit"])
    axes.text(0.5, 0.45, text, ha="center", va="center", fontsize=16, transform=axes.transAxes)
    axes.set_xticks([])
    axes.set_yticks([])


def lines(axes: Any, panel: dict[str, Any]) -> None:
    for series in sorted(panel["series"], key=lambda s: -max(v for _, v in s["values"]))[:MOST_LINES]:
        times = [datetime.fromtimestamp(at, UTC) for at, _ in series["values"]]
        values = [value for _, value in series["values"]]
        dashed = {"color": "red", "linestyle": "--"} if series["name"] == LIMIT else {}
        axes.plot(times, values, label=series["name"].strip()[:44] or "value", linewidth=1, **dashed)
    if panel["limit"] is not None:
        axes.axhline(panel["limit"], color="red", linestyle="--", linewidth=1)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: readable(value, panel["unit"])))
    axes.xaxis.set_major_formatter(matplotlib.dates.DateFormatter("%H:%M"))
    if panel["series"]:
        axes.legend(fontsize=5, loc="upper left", framealpha=0.6)
    axes.grid(alpha=0.3)


def listing(axes: Any, panel: dict[str, Any]) -> None:
    axes.axis("off")
    rows = [[str(cell) for cell in row] for row in panel["rows"][:MOST_ROWS]]
    if not rows:
        axes.text(0.5, 0.5, "none", ha="center", transform=axes.transAxes)
        return
    table = axes.table(cellText=rows, colLabels=panel["columns"], loc="upper left", cellLoc="left")
    table.auto_set_font_size(False)
    table.set_fontsize(6)
    table.auto_set_column_width(range(len(panel["columns"])))


DRAW = {"stat": tile, "timeseries": lines, "table": listing}


def main(image: str) -> None:
    page = json.load(sys.stdin)
    rows = max(panel["grid"]["y"] + panel["grid"]["h"] for panel in page["panels"])
    pyplot.rcParams["font.size"] = 7
    figure = pyplot.figure(figsize=(COLUMNS * WIDE, rows * HIGH + 0.6))
    height = rows + 0.6 / HIGH
    figure.suptitle(f"{page['title']} - {page['question']}", fontsize=11, x=0.01, ha="left")
    for panel in page["panels"]:
        grid = panel["grid"]
        bottom = (rows - grid["y"] - grid["h"]) / height
        box = [(grid["x"] + 1) / COLUMNS, bottom + 0.7 / height, (grid["w"] - 1.4) / COLUMNS]
        axes = figure.add_axes([*box, (grid["h"] - 2) / height])
        axes.set_title(panel["title"], fontsize=8, loc="left")
        DRAW[panel["type"]](axes, {**panel, "unit": panel["unit"] or ""})
    figure.savefig(image, dpi=70)


if __name__ == "__main__":
    main(sys.argv[1])
