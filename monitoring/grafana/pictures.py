"""Draws each Grafana dashboard with data from a Prometheus server: `python -m
monitoring.grafana.pictures URL FOLDER`.

The pictures show the dashboards without Grafana. Drawing needs matplotlib, which is installed in an
environment of its own.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from bench.environments import settle
from monitoring.grafana import dashboard

DRAW = Path(__file__).parent / "draw/draw.py"
#: Values for the dashboards' variables. They stand for the choice "All".
CHOSEN = {"$queue": ".*", "$task": ".*"}
SPAN_S, STEP_S = 1_800, 15


class Source:
    """An HTTP client of a Prometheus server."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=f"{url}/api/v1/", trust_env=False, timeout=30)

    def over_time(self, expr: str) -> list[dict[str, Any]]:
        """Run a PromQL query over the last half hour. Returns the series with their values."""
        end = time.time()
        span = {"start": end - SPAN_S, "end": end, "step": STEP_S}
        return self._ask("query_range", query=_chosen(expr), **span)

    def now(self, expr: str) -> list[dict[str, Any]]:
        found = self._ask("query", query=_chosen(expr))
        return [{**series, "values": [series["value"]]} for series in found]

    def _ask(self, path: str, **parameters: Any) -> list[dict[str, Any]]:
        answer = self._http.get(path, params=parameters).raise_for_status().json()
        series: list[dict[str, Any]] = answer["data"]["result"]
        return series


def _chosen(expr: str) -> str:
    for variable, value in CHOSEN.items():
        expr = expr.replace(variable, value)
    return expr


def _page(name: str, source: Source) -> dict[str, Any]:
    """A dashboard with its panels and their data, as the drawing program needs it."""
    written = json.loads(dashboard.file(name).read_text())
    panels = [_panel(panel, source) for panel in written["panels"]]
    return {"title": written["title"], "question": written["description"], "panels": panels}


def _panel(panel: dict[str, Any], source: Source) -> dict[str, Any]:
    defaults = panel["fieldConfig"]["defaults"]
    steps = [(s["value"], s["color"]) for s in defaults.get("thresholds", {}).get("steps", [])]
    drawn = {
        "title": panel["title"],
        "type": panel["type"],
        "grid": panel["gridPos"],
        "unit": defaults.get("unit"),
        "steps": steps,
        "limit": steps[-1][0] if len(steps) > 1 and panel["type"] == "timeseries" else None,
        "named": _names(defaults),
    }
    if panel["type"] == "table":
        return drawn | _table(panel, source)
    ask = source.now if panel["type"] == "stat" else source.over_time
    series = [
        {"name": _named(target.get("legendFormat") or "", one["metric"]), "values": _numbers(one["values"])}
        for target in panel["targets"]
        for one in ask(target["expr"])
    ]
    return drawn | {"series": [one for one in series if one["values"]]}


def _names(defaults: dict[str, Any]) -> dict[str, str]:
    options = [mapping["options"] for mapping in defaults.get("mappings", [])]
    return {value: shown["text"] for each in options for value, shown in each.items()}


def _table(panel: dict[str, Any], source: Source) -> dict[str, Any]:
    """The rows of a table panel, built like Grafana's transformations build them: one row for each
    set of labels.
    """
    renamed = panel["transformations"][1]["options"]["renameByName"]
    units = {o["matcher"]["options"]: o["properties"][0]["value"] for o in panel["fieldConfig"]["overrides"]}
    rows: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
    for target in panel["targets"]:
        name = renamed[f"Value #{target['refId']}"]
        for one in source.now(target["expr"]):
            labels = {key: value for key, value in one["metric"].items() if key != "__name__"}
            row = rows.setdefault(tuple(sorted(labels.items())), labels)
            row[name] = _short(float(one["value"][1]), str(units[name]))
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    columns.sort(key=lambda key: key in renamed.values())
    return {"columns": columns, "rows": [[row.get(key, "") for key in columns] for row in rows.values()]}


def _short(value: float, unit: str) -> str:
    if unit == "bytes":
        return f"{value / 2**20:.0f} MB"
    return f"{100 * value:.3g} %" if unit == "percentunit" else f"{value:.4g}"


def _named(legend: str, labels: dict[str, str]) -> str:
    for key in dict.fromkeys(part.split("}}")[0] for part in legend.split("{{")[1:]):
        legend = legend.replace(f"{{{{{key}}}}}", labels.get(key, ""))
    return legend


def _numbers(values: list[tuple[float, str]]) -> list[tuple[float, float]]:
    return [(at, float(value)) for at, value in values if value not in ("NaN", "+Inf", "-Inf")]


def main(url: str, folder: str) -> None:
    python = settle(DRAW.parent / "requirements.txt") / "python"
    Path(folder).mkdir(parents=True, exist_ok=True)
    source = Source(url)
    for name in dashboard.PAGES:
        image = Path(folder) / f"often-{name}.png"
        page = json.dumps(_page(name, source)).encode()
        subprocess.run([python, DRAW, image], input=page, check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
