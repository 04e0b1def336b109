"""Builds the kinds of Grafana panels that all dashboards share."""

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import NamedTuple

from grafana_foundation_sdk.builders import common, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    Panel,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

#: The Prometheus data source of all panels. It is a dashboard variable, so that users can choose
#: any Prometheus.
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
GREEN, ORANGE, RED, BLUE = "green", "orange", "red", "blue"
#: Legend of the series that shows an objective or a limit. Such a series is drawn as a red line.
LIMIT = "limit"

#: PromQL selector of the firing alerts, except OftenWatchdog, which always fires.
FIRING = 'ALERTS{alertname=~"Often.+", alertname!="OftenWatchdog", alertstate="firing"}'

PanelBuilder = Builder[Panel]


class Query(NamedTuple):
    """A PromQL query, and the legend of the series that it returns."""

    expr: str
    legend: str


class Column(NamedTuple):
    """A column of a table panel: the PromQL query for its values, and their unit."""

    expr: str
    unit: str


def link(title: str, url: str) -> build.DashboardLink:
    """A link from a panel to another dashboard or, with `${console}`, to the console."""
    return build.DashboardLink(title).type(DashboardLinkType.LINK).url(url)


def tile(
    title: str,
    description: str,
    expr: str,
    *,
    steps: Sequence[tuple[float | None, str]],
    unit: str = "short",
    named: Mapping[int, tuple[str, str]] | None = None,
    width: int = 3,
    leads: build.DashboardLink | None = None,
    legend: str = "",
) -> PanelBuilder:
    """A panel that shows the present value, colored by the highest of `steps` that the value
    reaches.

    `named` shows certain values as a word in a color. The query asks for the present moment only:
    for a period, Grafana would show the last value, however old it is.
    """
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .height(4)
        .span(width)
        .unit(unit)
        .no_value("unknown")
        .with_target(prometheus.Dataquery().ref_id("A").expr(expr).legend_format(legend).instant())
        .thresholds(_thresholds(steps))
        .color_mode(BigValueColorMode.BACKGROUND)
        .graph_mode(BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    if leads is not None:
        panel.links([leads])
    if named is not None:
        results = {
            str(value): ValueMappingResult(text=word, color=color, index=index)
            for index, (value, (word, color)) in enumerate(named.items())
        }
        panel.mappings([ValueMap(options=results)])
    return panel


def lines(
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    width: int = 8,
    stacked: bool = False,
    limit: float | str | None = None,
    leads: build.DashboardLink | None = None,
) -> PanelBuilder:
    """A panel that draws values over time, with the greatest first in the legend. `limit` is a
    value or a query that is drawn as a red line.
    """
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .height(8)
        .span(width)
        .unit(unit)
        .min(0)
        .no_value("nothing yet")
        .line_width(1)
        .fill_opacity(60 if stacked else 8)
        .show_points(VisibilityMode.NEVER)
        .stacking(common.StackingConfig().mode(StackingMode.NORMAL if stacked else StackingMode.NONE))
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.TABLE)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull", "max"])
            .sort_by("Last *")
            .sort_desc(True)
        )
    )
    if isinstance(limit, str):
        queries = (*queries, Query(limit, LIMIT))
        panel.override_by_name(LIMIT, _as_limit())
    elif limit is not None:
        panel.thresholds(_thresholds([(None, "transparent"), (limit, RED)]))
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
    if leads is not None:
        panel.links([leads])
    for letter, query in zip(ascii_uppercase, queries, strict=False):
        target = prometheus.Dataquery().ref_id(letter).expr(query.expr).legend_format(query.legend).range()
        panel.with_target(target)
    return panel


def listing(
    title: str,
    description: str,
    by: str,
    columns: Mapping[str, Column],
    *,
    width: int,
    height: int = 8,
    links: Mapping[str, tuple[str, str]] | None = None,
) -> PanelBuilder:
    """A table panel of present values, with a row for each value of the label `by`.

    `links` maps a label to the title and address of the link in the label's column.
    """
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .height(height)
        .span(width)
        .no_value("none")
    )
    names = {}
    for letter, (name, column) in zip(ascii_uppercase, columns.items(), strict=False):
        names[f"Value #{letter}"] = name
        panel.with_target(
            prometheus.Dataquery().ref_id(letter).expr(column.expr).format(PromQueryFormat.TABLE).instant()
        )
        panel.override_by_name(name, [DynamicConfigValue("unit", column.unit)])
    for label, (name, url) in (links or {}).items():
        panel.override_by_name(label, [DynamicConfigValue("links", [{"title": name, "url": url}])])
    panel.with_transformation(DataTransformerConfig(id_val="merge", options={}))
    panel.with_transformation(
        DataTransformerConfig(
            id_val="organize", options={"excludeByName": {"Time": True}, "renameByName": names}
        )
    )
    return panel.sort_by([common.TableSortByFieldState().display_name(by)])


def quantiles(buckets: str) -> list[Query]:
    """Queries for p99, p95 and p50. `buckets` selects recorded rates of a histogram's buckets."""
    return [
        Query(f"histogram_quantile({q}, sum by (le) ({buckets}))", f"p{100 * q:.0f}")
        for q in (0.99, 0.95, 0.5)
    ]


def or_zero(expr: str) -> str:
    """Make a query return 0 where it would return nothing. Some series begin only with their first
    event, and would leave a gap.
    """
    return f"{expr} or on () vector(0)"


def _thresholds(steps: Sequence[tuple[float | None, str]]) -> build.ThresholdsConfig:
    found = [Threshold(value=value, color=color) for value, color in steps]
    return build.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(found)


def _as_limit() -> list[DynamicConfigValue]:
    return [
        DynamicConfigValue("color", {"mode": "fixed", "fixedColor": RED}),
        DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [10, 10]}),
        DynamicConfigValue("custom.fillOpacity", 0),
        DynamicConfigValue("custom.stacking", {"mode": "none", "group": "limit"}),
    ]
