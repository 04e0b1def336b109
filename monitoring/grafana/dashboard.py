"""Writes the dashboard: `python -m monitoring.grafana.dashboard`, or `make dashboard`.

One page, from top to bottom: is anything wrong, and where? The runbook of docs/operations.md ends it.
"""

import json
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import table
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DashboardCursorSync,
    DashboardLinkType,
    Panel,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from monitoring.grafana import api, overview, processes, queues, schedules, tasks
from monitoring.grafana.panels import RED, SOURCE, PanelBuilder, words

ROOT = Path(__file__).parents[2]
FILE = ROOT / "monitoring/grafana/dashboards/often_tasks.json"
RUNBOOK = ROOT / "docs/operations.md"
#: The section of the runbook that stands on the dashboard.
SECTION = "## Alerts\n"
UID = "often-tasks"


def dashboard() -> Dashboard:
    """All of it."""
    page = (
        build.Dashboard("Often Tasks")
        .uid(UID)
        .description("Is anything wrong, and where?")
        .tags(["often"])
        .refresh("10s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(
            build.DashboardLink("Runbook")
            .type(DashboardLinkType.LINK)
            .icon("doc")
            .tooltip("What each alert means and what to do")
        )
        .annotation(
            build.AnnotationQuery()
            .name("Alerts")
            .datasource(SOURCE)
            .enable(True)
            .icon_color(RED)
            .expr('ALERTS{alertname=~"Often.+", alertstate="firing"}')
        )
        .with_variable(build.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_choice("queue", "Queue", "label_values(often_tasks_started_total, queue)"))
        .with_variable(
            _choice("task", "Task", 'label_values(often_tasks_started_total{queue=~"$queue"}, task)')
        )
    )
    for title, panels in _rows().items():
        page.with_row(build.Row(title))
        for panel in panels:
            page.with_panel(panel)
    return _finished(page.build())


def _rows() -> dict[str, list[PanelBuilder]]:
    return {
        "Is anything wrong?": overview.panels(),
        "Rates": tasks.rates(),
        "Failures": tasks.failures(),
        "Waits and runs": tasks.times(),
        "Queues": queues.panels(),
        "Workers": processes.panels(),
        "Schedules": schedules.panels(),
        "API": api.panels(),
        "Runbook": [words("Alerts", runbook())],
    }


def _finished(page: Dashboard) -> Dashboard:
    """Number the panels, link to the last one, which is the runbook, and drop what Grafana does not know.

    The builders write the fields of one kind of variable for all, and footers that tables have no more.
    """
    panels = page.panels or []
    for number, panel in enumerate(panels, start=1):
        panel.id_val = number
        if isinstance(panel, Panel) and isinstance(panel.options, table.Options):
            panel.options.footer = None
    for link in page.links or []:
        link.url = f"/d/{UID}?viewPanel={len(panels)}"
    for variable in page.templating.list_val or []:
        variable.auto = variable.auto_min = variable.auto_count = None
    return page


def _choice(name: str, label: str, query: str) -> build.QueryVariable:
    everything = VariableOption(selected=True, text=["All"], value=["$__all"])
    return (
        build.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(query)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(everything)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
    )


def runbook() -> str:
    """The section about alerts, as Markdown."""
    return RUNBOOK.read_text().partition(SECTION)[2].partition("\n## ")[0].strip()


def text() -> str:
    """The file's content."""
    return json.dumps(dashboard(), cls=JSONEncoder, indent=2) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
