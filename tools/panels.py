"""How the panels of Sidecar's dashboards look: one function for each kind, one taste for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    timeseries,
)
from grafana_foundation_sdk.builders import table as tables
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

USD, SHARE, SECONDS, CPM = "currencyUSD", "percentunit", "s", "cpm"
SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
Steps = Mapping[float, str]
Shown = stat.Panel | timeseries.Panel | bargauge.Panel | tables.Panel | statetimeline.Panel
P = TypeVar("P", bound=Shown)


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of Prometheus, and how each series is called."""

    expr: str
    legend: str = ""


class Sheet:
    """A dashboard that is filled from its top. `variables`: name to the query of its values."""

    def __init__(self, title: str, uid: str, about: str, variables: Mapping[str, str]) -> None:
        self._panels = 0
        self._made = (
            dashboard.Dashboard(title)
            .uid(uid)
            .description(about)
            .tags(["sidecar"])
            .timezone("browser")
            .time("now-6h", "now")
            .refresh("30s")
            .tooltip(model.DashboardCursorSync.CROSSHAIR)
            .with_variable(
                dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
            )
            .link(
                dashboard.DashboardLink("Sidecar")
                .type(model.DashboardLinkType.DASHBOARDS)
                .tags(["sidecar"])
                .keep_time(True)
                .include_vars(True)
            )
        )
        for name, query in variables.items():
            self._made.with_variable(_variable(name, query))

    def row(self, title: str) -> None:
        """Begin a new part."""
        self._made.with_row(dashboard.Row(title).id(self._next()))

    def add(self, *panels: Shown, width: int, height: int) -> None:
        """Put panels of one size side by side, 24 columns in a line."""
        for panel in panels:
            self._made.with_panel(panel.id(self._next()).span(width).height(height))

    def build(self) -> model.Dashboard:
        """The dashboard, as Grafana's schema has it."""
        return self._made.build()

    def _next(self) -> int:
        self._panels += 1
        return self._panels


def figure(
    title: str, about: str, *queries: Query, unit: str = "short", steps: Steps | None = None,
    words: Mapping[str, str] | None = None, named: bool = False,
) -> stat.Panel:  # fmt: skip
    """One number, or few, for a glance. `words` stand in the place of values."""
    panel = stat.Panel().title(title).description(about).datasource(SOURCE).unit(unit)
    panel.thresholds(_thresholds(steps or {0: "text"}))
    panel.color_mode(looks.BigValueColorMode.VALUE).graph_mode(looks.BigValueGraphMode.NONE)
    if named or len(queries) > 1:
        panel.text_mode(looks.BigValueTextMode.VALUE_AND_NAME)
    if words:
        panel.mappings([_words(words, steps or {})])
    panel.no_value("none yet").reduce_options(_newest())
    return _asked(panel, queries, instant=True)


def lines(
    title: str, about: str, *queries: Query, unit: str = "short", stacked: bool = False,
    most: float | None = None,
) -> timeseries.Panel:  # fmt: skip
    """How figures went over time; `stacked` where their sum means something."""
    panel = timeseries.Panel().title(title).description(about).datasource(SOURCE).unit(unit).min(0)
    panel.line_width(1).fill_opacity(30 if stacked else 0)
    panel.show_points(looks.VisibilityMode.AUTO)
    panel.color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
    if stacked:
        panel.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL).group("A"))
    if most is not None:
        panel.max(most)
    panel.legend(
        common.VizLegendOptions()
        .display_mode(looks.LegendDisplayMode.LIST)
        .placement(looks.LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    panel.tooltip(
        common.VizTooltipOptions()
        .mode(looks.TooltipDisplayMode.MULTI)
        .sort(looks.SortOrder.DESCENDING)
    )
    return _asked(panel, queries)


def bars(title: str, about: str, query: Query, steps: Steps) -> bargauge.Panel:
    """Shares of a whole, now."""
    panel = bargauge.Panel().title(title).description(about).datasource(SOURCE)
    panel.unit(SHARE).min(0).max(1).thresholds(_thresholds(steps))
    panel.orientation(looks.VizOrientation.HORIZONTAL)
    panel.display_mode(looks.BarGaugeDisplayMode.BASIC)
    panel.no_value("none known").reduce_options(_newest())
    return _asked(panel, (query,), instant=True)


def states(title: str, about: str, *queries: Query) -> statetimeline.Panel:
    """What was shut, and when: 1 is shut, 0 is open."""
    panel = statetimeline.Panel().title(title).description(about).datasource(SOURCE)
    panel.thresholds(_thresholds({0: "green", 1: "red"}))
    panel.mappings([_words({"0": "open", "1": "shut"}, {0: "green", 1: "red"})])
    panel.show_value(looks.VisibilityMode.NEVER).merge_values(True)
    return _asked(panel, queries)


def table(
    title: str, about: str, columns: Mapping[str, tuple[str, str]], labels: tuple[str, ...],
    hidden: str = "",
) -> tables.Panel:  # fmt: skip
    """One line for each set of labels; a column is a query and the unit of what it gives."""
    panel = tables.Panel().title(title).description(about).datasource(SOURCE)
    for ref, (expr, _) in zip("ABCDEFGH", columns.values(), strict=False):
        panel.with_target(
            prometheus.Dataquery()
            .expr(expr)
            .ref_id(ref)
            .instant()
            .format(PromQueryFormat.TABLE)
            .datasource(SOURCE)
        )
    refs = dict(zip(columns, "ABCDEFGH", strict=False))
    renamed = {f"Value #{ref}": name for name, ref in refs.items()}
    gone = {"Time": True} | ({f"Value #{refs[hidden]}": True} if hidden else {})
    order = {name: at for at, name in enumerate([*labels, *renamed])}
    panel.with_transformation(model.DataTransformerConfig("merge", options={}))
    panel.with_transformation(
        model.DataTransformerConfig(
            "organize",
            options={"excludeByName": gone, "indexByName": order, "renameByName": renamed},
        )
    )
    for name, (_, unit) in columns.items():
        looks_so = [model.DynamicConfigValue("unit", unit)]
        if unit == "short":
            looks_so.append(model.DynamicConfigValue("decimals", 0))
        panel.override_by_name(name, looks_so)
    panel.sort_by([common.TableSortByFieldState().display_name(next(iter(columns))).desc(True)])
    return panel


def _asked(panel: P, queries: tuple[Query, ...], *, instant: bool = False) -> P:
    for ref, query in zip("ABCDEFGH", queries, strict=False):
        asked = prometheus.Dataquery().expr(query.expr).ref_id(ref).datasource(SOURCE)
        asked.legend_format(query.legend or "__auto")
        panel.with_target(asked.instant() if instant else asked.range())
    return panel


def _newest() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"])


def _thresholds(steps: Steps) -> Builder[model.ThresholdsConfig]:
    first, *more = sorted(steps.items())
    made = [model.Threshold(None, first[1]), *(model.Threshold(at, color) for at, color in more)]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(made)


def _words(words: Mapping[str, str], steps: Steps) -> model.ValueMap:
    return model.ValueMap({
        value: model.ValueMappingResult(text=word, color=steps.get(float(value)))
        for value, word in words.items()
    })  # fmt: skip


def _variable(name: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(name.capitalize())
        .query({"query": query, "refId": name})
        .datasource(SOURCE)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(model.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )
