"""The dashboard as it is written down."""

import json
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from monitoring.grafana import dashboard

WRITTEN: dict[str, Any] = json.loads(dashboard.FILE.read_text())
PANELS = [panel for panel in WRITTEN["panels"] if panel["type"] != "row"]


def test_the_file_is_what_the_code_makes() -> None:
    assert dashboard.FILE.read_text() == dashboard.text(), "run `make dashboard`"


def test_nothing_is_lost_when_the_types_of_grafana_read_it() -> None:
    register_default_plugins()
    read = json.loads(json.dumps(Dashboard.from_json(WRITTEN), cls=JSONEncoder))
    assert lost(WRITTEN, read) == []


def lost(written: Any, read: Any, path: str = "") -> list[str]:
    """Where the two differ, but for what reading adds because it is not said."""
    if isinstance(written, dict) and isinstance(read, dict):
        return [p for key, value in written.items() for p in lost(value, read.get(key), f"{path}.{key}")]
    if isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        pairs = enumerate(zip(written, read, strict=True))
        return [p for number, (one, other) in pairs for p in lost(one, other, f"{path}[{number}]")]
    return [] if written == read else [path]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows_and_in_which_unit(panel: dict[str, Any]) -> None:
    if panel["type"] == "text":
        assert "### No worker" in panel["options"]["content"]
        return
    assert panel["description"].endswith((".", ")."))
    assert panel["targets"]
    if panel["type"] == "table":
        units = [o for o in panel["fieldConfig"]["overrides"] if o["properties"][0]["id"] == "unit"]
        assert len(units) == len(panel["targets"])
    else:
        assert panel["fieldConfig"]["defaults"]["unit"]
    if panel["type"] == "timeseries":
        assert all(target["legendFormat"] for target in panel["targets"])


def test_every_panel_has_an_id_and_a_place_of_its_own() -> None:
    ids = [panel["id"] for panel in WRITTEN["panels"]]
    assert sorted(ids) == list(range(1, len(ids) + 1))
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in WRITTEN["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24


def test_the_link_leads_to_the_runbook() -> None:
    (link,) = WRITTEN["links"]
    (runbook,) = [panel for panel in PANELS if panel["type"] == "text"]
    assert link["url"] == f"/d/{WRITTEN['uid']}?viewPanel={runbook['id']}"
