"""`draw.py IMAGE`, in an environment with matplotlib: figures as JSON on standard input, a picture of them.

Each dot is a round, the bar is the median. Time and memory are turned round, so that right is always better.
"""

import json
import sys
from typing import Any

import matplotlib

matplotlib.use("Agg")  # there is no screen
from matplotlib import pyplot

OURS, MISSED, DOT = "#2a6f97", "#c1443c", "#0b2e42"


def better(fact: dict[str, Any], ratio: float, aim: float) -> float:
    """Above 1 where the aim is surpassed."""
    return aim / ratio if fact["lower_is_better"] else ratio / aim


def panel(axes: Any, facts: list[dict[str, Any]], aim: str | None) -> None:
    """Bars of ratios; with the name of an aim, as multiples of it."""
    for place, fact in enumerate(facts):
        base = fact[aim] if aim else 1.0
        dots = [better(fact, round_["ratio"], base) if aim else round_["ratio"] for round_ in fact["rounds"]]
        value = better(fact, fact["ratio"], base) if aim else fact["ratio"]
        axes.barh(place, value, color=MISSED if fact["met"] is False else OURS, height=0.6)
        axes.plot(dots, [place] * len(dots), "o", color=DOT, markersize=3)
        if aim and fact["target"]:
            axes.plot(better(fact, fact["target"], base), place, marker="|", color="black", markersize=16)
        axes.annotate(f" {fact['ratio']:.3g}", (max([value, *dots]), place), va="center", fontsize=8)
    axes.set_yticks(range(len(facts)), [fact["figure"] for fact in facts], fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)


def main(image: str) -> None:
    facts = json.load(sys.stdin)
    aimed = [fact for fact in facts if fact["required"] is not None]
    told = [fact for fact in facts if fact["required"] is None]
    panels = [
        (aimed, "required", "multiple of what is required (line); the stroke is the target"),
        (told, None, "ratio to the other side"),
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
