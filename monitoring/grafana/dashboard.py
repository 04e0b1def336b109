"""Writes the six Grafana dashboards: `make dashboard`, or `python -m monitoring.grafana.dashboard`.

A dashboard is defined by a module of this folder, with a title, the question that it answers, the
variables that users can choose, and its panels.
"""

import json
from pathlib import Path
from types import ModuleType

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

from monitoring.grafana import overview, queue, schedules, servers, task, workers
from monitoring.grafana.panels import BLUE, FIRING, RED, SOURCE, link

FOLDER = Path(__file__).parent / "dashboards"
#: Modules of the dashboards, by the last part of the dashboard's uid, which is also the last part
#: of its file name.
PAGES: dict[str, ModuleType] = {
    "overview": overview,
    "queue": queue,
    "task": task,
    "workers": workers,
    "schedules": schedules,
    "servers": servers,
}
TAG = "often"
#: Default address of the console, as in docker-compose.yml. Users can change it with a variable of
#: each dashboard.
CONSOLE = "http://127.0.0.1:8000/console"
#: Label and query of each variable that a dashboard may offer for filtering.
CHOICES = {
    "queue": ("Queue", "label_values(often_queue_depth, queue)"),
    "task": ("Kind of task", "label_values(often_tasks_started_total, task)"),
}


def file(name: str) -> Path:
    return FOLDER / f"often-{name}.json"


def dashboard(name: str) -> Dashboard:
    """Build the Grafana dashboard with this name in PAGES."""
    module = PAGES[name]
    page = (
        build.Dashboard(f"Often Tasks: {module.TITLE}")
        .uid(f"often-{name}")
        .description(module.QUESTION)
        .tags([TAG])
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(
            build.DashboardLink("Dashboards").type(DashboardLinkType.DASHBOARDS).tags([TAG]).keep_time(True)
        )
        .link(link("Console", "${console}").icon("external link"))
        .annotation(_mark("Alerts", FIRING, RED))
        .annotation(
            # Query for an annotation that marks a deploy: a release runs that no process ran five
            # minutes ago.
            _mark(
                "Deploys",
                "count by (release) (often_build_info) unless on (release)"
                " count by (release) (often_build_info offset 5m)",
                BLUE,
            )
        )
        .with_variable(build.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(build.TextBoxVariable("console").label("Console").default_value(CONSOLE))
    )
    for choice in module.CHOICES:
        page.with_variable(_choice(choice, *CHOICES[choice]))
    for panel in module.panels():
        page.with_panel(panel)
    return _finished(page.build())


def _mark(name: str, expr: str, color: str) -> build.AnnotationQuery:
    return build.AnnotationQuery().name(name).datasource(SOURCE).enable(True).icon_color(color).expr(expr)


def _finished(page: Dashboard) -> Dashboard:
    """Number the panels of a dashboard, and drop fields that Grafana does not know.

    The builder library writes every variable with the fields of all kinds of variables, and tables
    with a footer, which Grafana's tables no longer have.
    """
    for number, panel in enumerate(page.panels or [], start=1):
        panel.id_val = number
        if isinstance(panel, Panel) and isinstance(panel.options, table.Options):
            panel.options.footer = None
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


def text(name: str) -> str:
    """The JSON text of the dashboard's file."""
    return json.dumps(dashboard(name), cls=JSONEncoder, indent=2) + "\n"


if __name__ == "__main__":
    for name in PAGES:
        file(name).write_text(text(name))
