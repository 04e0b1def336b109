"""`draw.py IMAGE`: draws the benchmark figures that are given as JSON on standard input.

Needs an environment with matplotlib. Each dot is a round of measurements, and the bar ends at the
median. Times and memory are inverted, so that further right is always better.
"""

import json
import sys
from typing import Any

import matplotlib

matplotlib.use("Agg")  # this matplotlib backend needs no screen
from matplotlib import pyplot, ticker

OURS, MISSED, DOT = "#2a6f97", "#c1443c", "#0b2e42"


def goodness(fact: dict[str, Any], ratio: float, aim: str | None) -> float:
    """The ratio as a multiple of its aim; above 1 if the ratio is better than the aim."""
    base = fact[aim] if aim else 1.0
    return base / ratio if fact["lower_is_better"] else ratio / base


def panel(axes: Any, facts: list[dict[str, Any]], aim: str | None) -> None:
    """Draw one bar per figure, from the line at 1 to the figure's median."""
    for place, fact in enumerate(facts):
        dots = [goodness(fact, round_["ratio"], aim) for round_ in fact["rounds"]]
        value = goodness(fact, fact["ratio"], aim)
        axes.barh(place, value - 1, left=1, color=MISSED if fact["met"] is False else OURS, height=0.6)
        axes.plot(dots, [place] * len(dots), "o", color=DOT, markersize=3)
        marks = [goodness(fact, fact["target"], aim)] if fact["target"] else []
        axes.plot(marks, [place] * len(marks), "|", color="black", markersize=16)
        end = max([1.0, *dots, *marks])
        axes.annotate(f"{fact['ratio']:.3g}", (end, place), (6, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(facts)), [fact["figure"] for fact in facts])
    axes.invert_yaxis()
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.margins(x=0.15)
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)


def main(image: str) -> None:
    facts = json.load(sys.stdin)
    pyplot.rcParams["font.size"] = 8
    aimed = [fact for fact in facts if fact["required"] is not None]
    reported = [fact for fact in facts if fact["required"] is None]
    panels = [
        (aimed, "required", "multiple of the requirement (numbers are the ratios, ticks the targets)"),
        (reported, None, "ratio to the other side (ticks are targets)"),
    ]
    panels = [chosen for chosen in panels if chosen[0]]
    figure, all_axes = pyplot.subplots(
        len(panels),
        squeeze=False,
        figsize=(9, 1.5 * len(panels) + 0.35 * len(facts)),
        height_ratios=[len(chosen) + 1 for chosen, _, _ in panels],
        layout="constrained",
    )
    for axes, (chosen, aim, title) in zip(all_axes[:, 0], panels, strict=True):
        panel(axes, chosen, aim)
        axes.set_title(title, fontsize=9, loc="left")
    figure.savefig(image, dpi=150)


if __name__ == "__main__":
    main(sys.argv[1])
