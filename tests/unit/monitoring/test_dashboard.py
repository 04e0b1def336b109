"""Tests that the Grafana dashboards' files match the code that generates them."""

import json
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from monitoring.grafana import dashboard

WRITTEN: dict[str, dict[str, Any]] = {
    name: json.loads(dashboard.file(name).read_text()) for name in dashboard.PAGES
}
PANELS = [(name, panel) for name, page in WRITTEN.items() for panel in page["panels"]]
IDS = [f"{name}: {panel['title']}" for name, panel in PANELS]


@pytest.mark.parametrize("name", dashboard.PAGES)
def test_the_file_is_what_the_code_makes(name: str) -> None:
    assert dashboard.file(name).read_text() == dashboard.text(name), "run `make dashboard`"


@pytest.mark.parametrize("name", dashboard.PAGES)
def test_nothing_is_lost_when_the_types_of_grafana_read_it(name: str) -> None:
    register_default_plugins()
    read = json.loads(json.dumps(Dashboard.from_json(WRITTEN[name]), cls=JSONEncoder))
    assert lost(WRITTEN[name], read) == []


def lost(written: Any, read: Any, path: str = "") -> list[str]:
    """Paths at which what Grafana read differs from what was written.

    Defaults that Grafana adds are ignored.
    """
    if isinstance(written, dict) and isinstance(read, dict):
        return [p for key, value in written.items() for p in lost(value, read.get(key), f"{path}.{key}")]
    if isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        pairs = enumerate(zip(written, read, strict=True))
        return [p for number, (one, other) in pairs for p in lost(one, other, f"{path}[{number}]")]
    return [] if written == read else [path]


@pytest.mark.parametrize("panel", [panel for _, panel in PANELS], ids=IDS)
def test_a_panel_asks_a_question_and_says_in_which_unit(panel: dict[str, Any]) -> None:
    assert panel["title"].endswith("?")
    assert panel["description"].endswith((".", ")."))
    assert panel["targets"]
    if panel["type"] == "table":
        overrides = panel["fieldConfig"]["overrides"]
        units = [o for o in overrides if o["properties"][0]["id"] == "unit"]
        assert len(units) == len(panel["targets"])
    else:
        assert panel["fieldConfig"]["defaults"]["unit"]
    if panel["type"] == "timeseries":
        assert all(target["legendFormat"] for target in panel["targets"])


@pytest.mark.parametrize("name", dashboard.PAGES)
def test_every_panel_has_an_id_and_a_place_of_its_own(name: str) -> None:
    panels = WRITTEN[name]["panels"]
    assert sorted(panel["id"] for panel in panels) == list(range(1, len(panels) + 1))
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24
    # A dashboard must not have too many panels, because an operator in a hurry must find the right
    # one.
    assert len(panels) <= 16


def test_links_between_dashboards_lead_to_dashboards() -> None:
    text = json.dumps(WRITTEN)
    uids = {page["uid"] for page in WRITTEN.values()}
    named = {part.split('"')[0].split("?")[0] for part in text.split('"/d/')[1:]}
    assert named
    assert named <= uids
    for page in WRITTEN.values():
        assert [one["tags"] for one in page["links"] if one["type"] == "dashboards"] == [[dashboard.TAG]]
