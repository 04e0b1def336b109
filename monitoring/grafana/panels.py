"""The kinds of panels, as they look all over the dashboard."""

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import NamedTuple

from grafana_foundation_sdk.builders import common, prometheus, stat, table, text, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
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
from grafana_foundation_sdk.models.text import TextMode

#: The variable, so that the dashboard works beside any data source.
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
#: Of what has both labels; what has only a queue is chosen by `QUEUE`.
SELECTED = 'queue=~"$queue", task=~"$task"'
QUEUE = 'queue=~"$queue"'

FULL_WIDTH = 24
GREEN, ORANGE, RED = "green", "orange", "red"

PanelBuilder = Builder[Panel]


class Query(NamedTuple):
    """What is asked, and how its series are called."""

    expr: str
    legend: str


class Column(NamedTuple):
    """One value of each line of a table."""

    expr: str
    unit: str


def tile(
    title: str,
    description: str,
    expr: str,
    *,
    steps: Sequence[tuple[float | None, str]],
    unit: str = "short",
    named: Mapping[int, tuple[str, str]] | None = None,
) -> PanelBuilder:
    """A value as it is now, coloured by the highest of `steps` that it reaches; or `named`: word and colour.

    Asked for this moment only: of a span of time Grafana would show the last value, however old.
    """
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .height(4)
        .span(3)
        .unit(unit)
        .no_value("not told")
        .with_target(prometheus.Dataquery().ref_id("A").expr(expr).instant())
        .thresholds(
            build.ThresholdsConfig()
            .mode(ThresholdsMode.ABSOLUTE)
            .steps([Threshold(value=value, color=color) for value, color in steps])
        )
        .color_mode(BigValueColorMode.BACKGROUND)
        .graph_mode(BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    if named is not None:
        results = {
            str(value): ValueMappingResult(text=word, color=color, index=index)
            for index, (value, (word, color)) in enumerate(named.items())
        }
        panel.mappings([ValueMap(options=results)])
    return panel


def lines(
    title: str, description: str, *queries: Query, unit: str, width: int = 8, stacked: bool = False
) -> PanelBuilder:
    """Values over time, the greatest first."""
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
    for letter, query in zip(ascii_uppercase, queries, strict=False):
        target = prometheus.Dataquery().ref_id(letter).expr(query.expr).legend_format(query.legend).range()
        panel.with_target(target)
    return panel


def listing(
    title: str, description: str, by: str, columns: Mapping[str, Column], *, width: int
) -> PanelBuilder:
    """A line for each value of the label `by`, as it is now."""
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .height(8)
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
    panel.with_transformation(DataTransformerConfig(id_val="merge", options={}))
    panel.with_transformation(
        DataTransformerConfig(
            id_val="organize", options={"excludeByName": {"Time": True}, "renameByName": names}
        )
    )
    return panel.sort_by([common.TableSortByFieldState().display_name(by)])


def quantiles(buckets: str) -> list[Query]:
    """Of a recorded rate of buckets, over what is chosen."""
    return [
        Query(f"histogram_quantile({q}, sum by (le) ({buckets}{{{SELECTED}}}))", f"p{100 * q:.0f}")
        for q in (0.99, 0.95, 0.5)
    ]


def words(title: str, markdown: str) -> PanelBuilder:
    """Text over the whole width."""
    return text.Panel().title(title).mode(TextMode.MARKDOWN).content(markdown).height(24).span(FULL_WIDTH)
