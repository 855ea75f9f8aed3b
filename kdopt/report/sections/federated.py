"""Federated averaging (paper, section V-B: Fig. 9, rounds to a target) and other algorithms."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pandas as pd
import plotly.graph_objects as go

from kdopt.analysis.combining import EQUAL
from kdopt.analysis.federated import PAPER_ROUND_REDUCTION
from kdopt.analysis.method_gains import list_partitions
from kdopt.analysis.results import Line
from kdopt.analysis.tables import Tables
from kdopt.campaign.federated_algorithms import ALGORITHM_FACTS, FEDAVG
from kdopt.campaign.settings import Campaign
from kdopt.report.blocks import (
    Block,
    PageFigure,
    SortCell,
    Table,
    explain_missing_stage,
    make_tables,
)
from kdopt.report.columns import Column, Columns, IntervalColumn
from kdopt.report.format import (
    escape_partitions,
    format_algorithm,
    format_frame,
    format_points,
    format_transfer_set,
    format_words,
    make_sort_key,
    title_partitions,
)
from kdopt.report.plotting import (
    ACCURACY_AXIS,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    Axis,
    Panel,
    PlainFigure,
    round_values,
    wrap_panels,
)
from kdopt.shown import format_count, format_setting

TARGET_HEADINGS = ("Partition", "Target", "Test accuracy to reach (%)")
ROUND_COUNTS = ("target", "rounds_random", "rounds_consolidated", "rounds")
BOUND_WORDS = {"exact": "", "at least": "at least ", "at most": "at most "}


def make_curves_block(tables: Tables) -> Block:
    """Fig. 9: what federated averaging was run with, its figure, and the levels (test, %)."""
    curves, levels, figure = tables.federated_curves, tables.federated_levels, None
    if len(curves):
        drawn = draw_federated(curves, levels)
        figure = PageFigure("many-federated", "fig9-federated", drawn, curves)
    columns: Columns = [
        "partition",
        *_name_spread_columns("random_final", levels),
        *_name_spread_columns("consolidated_final", levels),
        *_name_spread_columns("kd_alone", levels),
        *("best_participant", "round_megabytes", "start_megabytes"),
    ]
    return Block(
        "Federated averaging after distillation",
        _describe_curves(curves, tables.campaign),
        figure,
        make_tables("Accuracies on test, and traffic", columns, levels),
        "" if figure else explain_missing_stage(tables.campaign, "federate"),
    )


def _describe_curves(curves: pd.DataFrame, campaign: Campaign) -> str:
    settings = campaign.federate
    sentences = [
        f"Fig. 9 of the paper; communication rounds: {settings.rounds}, local epochs: "
        f"{settings.local_epochs}, all {format_count(campaign.participants, 'participant')} in "
        "every round."
    ]
    if settings.uses_consolidated:
        start = "model" if settings.start == "untrained" else "student"
        equal = settings.weighting == EQUAL
        sentences.append(
            f"The consolidated model starts from the {settings.start} {start} and is distilled on "
            f"{format_transfer_set(settings.transfer_set).lower()}, with teachers weighted "
            f"{'equally' if equal else f'by {format_words(settings.weighting)}'}; its own accuracy "
            "is the level of KD alone, and round 0 of its curve."
        )
    if FEDAVG in settings.algorithms:
        sentences.append("The best participant is the best on validation.")
    if len(curves) and curves["replicate"].nunique() > 1:
        sentences.append(
            "Curves are means over replicates, bands reach from the least to the greatest."
        )
    return " ".join(sentences)


def _name_spread_columns(key: str, levels: pd.DataFrame) -> list[Column | str]:
    """A mean over replicates and, where something was repeated, its standard deviation."""
    spread = Column(f"{key}_sd", "sd over replicates (pp)")
    return [key, spread] if levels[spread.key].notna().any() else [key]


def make_rounds_block(tables: Tables) -> Block:
    """Rounds and traffic (MB) to every target, one line per partition, target and replicate."""
    headings = [
        *(*TARGET_HEADINGS, "Replicate", "Rounds from random weights", "Rounds after KD"),
        *("Reduction of rounds (%)", "MB from random weights", "MB after KD, and of KD"),
        "Reduction of MB (%)",
    ]
    rounds = tables.rounds_to_target
    titles = title_partitions(rounds["partition"])
    lines = [
        _make_round_cells(line, titles[str(line["partition"])])
        for line in rounds.to_dict("records")
    ]
    return Block(
        "Rounds to a target accuracy",
        "The first round whose test accuracy reaches the target; round 0 is the initial model. "
        "Relative targets are shares of the final accuracy from random weights. Where a run never "
        "gets there, more rounds are needed than were run (>), so the reduction is only known to "
        "be at least or at most so much. Traffic (1e6 bytes) is what all participants send and "
        "receive; distilling beforehand costs traffic too, and is counted.",
        tables=[Table("Rounds and traffic to every target", headings, lines)] if lines else [],
        missing="" if lines else _explain_missing_rounds(tables),
    )


def make_reductions_block(tables: Tables) -> Block:
    """Mean reductions (%) beside the paper's one number."""
    columns: Columns = [
        Column("label", "Targets", str),
        IntervalColumn("reduction", over="partitions"),
        *("partitions", "exact", "at_least", "at_most", "unknown"),
        IntervalColumn("megabytes_reduction", "megabytes_", over="partitions"),
    ]
    return Block(
        "Rounds saved on average",
        f"The paper's second version states a mean reduction of {PAPER_ROUND_REDUCTION:g} %, on "
        "CIFAR-10 and for targets that its text lost, so no number here has to equal "
        "it: means are shown per target, per kind of target and over all. Bounds (at least, at "
        "most) enter a mean with their value; how many there are is counted beside it.",
        tables=make_tables("Mean reductions", columns, tables.reductions),
        missing="" if len(tables.reductions) else _explain_missing_rounds(tables),
    )


def _explain_missing_rounds(tables: Tables) -> str:
    campaign = tables.campaign
    if tables.federated_curves.empty:
        return explain_missing_stage(campaign, "federate")
    settings = campaign.federate
    if len(settings.initial_models) < 2:
        return (
            'No data: set federate.initial_models = ["random", "consolidated"] and run again, to '
            "compare the two."
        )
    if not settings.targets and not settings.relative_targets:
        return "No data: name targets in federate.targets or federate.relative_targets."
    return "No data yet: no replicate is complete from both initial models."


def _make_round_cells(line: Line, partition: str) -> list[SortCell]:
    """One line of :func:`kdopt.analysis.federated.count_rounds_to_target` as people read it."""
    bound = line["bound"]
    reached = [line["rounds_random"], line["rounds_consolidated"]]
    traffic = [line["megabytes_random"], line["megabytes_consolidated"]]
    return [
        SortCell(partition, partition),
        *_make_target_cells(line),
        SortCell(str(line["replicate"]), int(line["replicate"])),
        *(_make_reached_cell(r, line["rounds"]) for r in reached),
        _make_bounded_cell(line["reduction"], bound),
        *(_make_spent_cell(r, mb, format_points) for r, mb in zip(reached, traffic, strict=True)),
        _make_bounded_cell(line["megabytes_reduction"], bound),
    ]


def _make_target_cells(line: Line) -> list[SortCell]:
    """What was to be reached: a share, and the accuracy that it comes to."""
    of = " of FedAvg's final" if line["kind"] == "relative" else ""
    accuracy = line["target_accuracy"]
    shown = f"{format_setting(100 * line['target'])} %{of}", format_points(accuracy)
    return [SortCell(text, make_sort_key(accuracy)) for text in shown]


def _make_reached_cell(reached: float, rounds: int) -> SortCell:
    return _make_spent_cell(reached, rounds if math.isnan(reached) else reached, format_setting)


def _make_spent_cell(reached: float, spent: float, show: Callable[[float], str]) -> SortCell:
    """What was spent until the target was reached, or that all of it was not enough."""
    if math.isnan(spent) or not math.isnan(reached):
        return SortCell(show(spent), make_sort_key(float(spent)))
    return SortCell(f"> {show(spent)}", make_sort_key(spent + 1e-6))  # just after what did reach it


def _make_bounded_cell(value: float, bound: str) -> SortCell:
    if math.isnan(value):
        return SortCell("unknown", "")
    return SortCell(
        BOUND_WORDS.get(bound, f"{bound} ") + format_points(value), make_sort_key(value)
    )


class LineStyle(NamedTuple):
    """How a curve or a level is named and drawn."""

    label: str
    colour: str
    dash: str
    width: float


CURVE_STYLES = {
    ("fedavg", "random"): LineStyle("FedAvg from random weights", ORANGE, "dash", 2),
    ("fedavg", "consolidated"): LineStyle("KD, then FedAvg", BLUE, "solid", 2.5),
    ("feddf", "random"): LineStyle("FedDF from random weights", PURPLE, "dash", 2),
    ("feddf", "consolidated"): LineStyle("KD, then FedDF", PURPLE, "solid", 2),
    ("fedmd", "pretrained"): LineStyle("FedMD from trained models", SKY, "solid", 2),
    ("fedmd", "random"): LineStyle("FedMD from random weights", SKY, "dash", 2),
    ("def_kt", "pretrained"): LineStyle("Def-KT from trained models", GREY, "solid", 2),
    ("def_kt", "random"): LineStyle("Def-KT from random weights", GREY, "dash", 2),
}

LEVEL_STYLES = {
    "kd_alone": LineStyle("KD alone", GREEN, "dot", 2),
    "best_participant": LineStyle("Best participant alone", VERMILLION, "dashdot", 1.5),
}


def draw_federated(curves: pd.DataFrame, levels: pd.DataFrame) -> PlainFigure:
    """Fig. 9: test accuracy (%) by communication round, and what needs no round as levels.

    A panel per partition. Curves are means over replicates, bands reach from the least to the
    greatest of them; where participants have models of their own, a curve is these models' mean.
    """
    known = levels.set_index("partition")
    panels = []
    names = [*list_partitions(levels), *list_partitions(curves)]
    for partition, title in escape_partitions(names).items():
        here = curves[curves["partition"] == partition]
        traces = []
        for (algorithm, start), style in CURVE_STYLES.items():
            runs = here[(here["algorithm"] == algorithm) & (here["initial_model"] == start)]
            if len(runs):
                traces += _draw_curve(runs, style)
        for key, style in LEVEL_STYLES.items():
            level = float(known[key].get(partition, math.nan))
            if not math.isnan(level):
                traces.append(_draw_level(level, int(here["round"].max()), style))
        panels.append(Panel(traces, title=title))
    axis = Axis("Communication round", ACCURACY_AXIS, {"zeroline": False}, {"zeroline": False})
    return wrap_panels(panels, axis)


def _draw_curve(runs: pd.DataFrame, style: LineStyle) -> list[go.Scatter]:
    by_round = runs.groupby("round", sort=True)["test_accuracy"]
    table = by_round.agg(["mean", "min", "max"])
    rounds = [int(number) for number in table.index]
    band = []
    if runs["replicate"].nunique() > 1:
        # There and back again: one closed shape per curve.
        red, green, blue = (int(style.colour[i : i + 2], 16) for i in (1, 3, 5))
        band.append(
            go.Scatter(
                mode="lines", name=f"{style.label} (least to greatest)", showlegend=False,
                legendgroup=style.label, x=rounds + rounds[::-1],
                y=round_values([*table["max"], *table["min"][::-1]]), fill="toself",
                fillcolor=f"rgba({red},{green},{blue},0.2)", line={"width": 0}, hoverinfo="skip",
            )
        )  # fmt: skip
    curve = go.Scatter(
        mode="lines", name=style.label, legendgroup=style.label, x=rounds,
        y=round_values(table["mean"]), line=_make_line(style),
        hovertemplate="round %{x}: %{y} %<extra>%{fullData.name}</extra>",
    )  # fmt: skip
    return [*band, curve]


def _draw_level(level: float, last_round: int, style: LineStyle) -> go.Scatter:
    return go.Scatter(
        mode="lines", name=style.label, legendgroup=style.label, x=[0, last_round],
        y=round_values([level, level]), line=_make_line(style),
        hovertemplate="%{y} %<extra>%{fullData.name}</extra>",
    )  # fmt: skip


def _make_line(style: LineStyle) -> dict[str, Any]:
    return {"color": style.colour, "dash": style.dash, "width": style.width}


def has_other_algorithms(tables: Tables) -> bool:
    """Whether any other algorithm than federated averaging has a result."""
    return bool((tables.algorithms["algorithm"] != FEDAVG).any())


def make_algorithm_blocks(tables: Tables) -> list[Block]:
    """All algorithms and starts: accuracy, rounds, traffic; nothing where there is only FedAvg."""
    campaign = tables.campaign
    if set(campaign.federate.algorithms) == {FEDAVG} and not has_other_algorithms(tables):
        return []
    per_round = Column("round_megabytes", "Traffic per round (MB)", _format_traffic)
    levels: Columns = [
        *("partition", "algorithm", "initial_model", "first_accuracy"),
        *_name_spread_columns("final_accuracy", tables.algorithms),
        per_round,
        Column("start_megabytes", "Traffic of making the start (MB)", _format_traffic),
        Column("total_megabytes", "Traffic in all (MB)", _format_traffic),
    ]
    difference = Column("difference", "Minus FedAvg from random weights (pp)")
    differences: Columns = [
        *("algorithm", "initial_model"),
        Column("final_accuracy", "After the last round, mean (%)"),
        IntervalColumn(difference, over="partitions"),
        *("partitions", per_round),
    ]
    return [
        Block(
            "Federated algorithms side by side",
            _describe_algorithms(tables),
            tables=[
                *make_tables("Accuracy on test, and traffic", levels, tables.algorithms),
                *make_tables("Over partitions", differences, tables.algorithm_differences),
                *_make_rounds_table(tables.algorithm_rounds),
            ],
            missing="" if len(tables.algorithms) else explain_missing_stage(campaign, "federate"),
        )
    ]


def _format_traffic(megabytes: float) -> str:
    # Logits weigh so little that two decimals would round most of it away.
    return "" if math.isnan(megabytes) else f"{megabytes:.3g}"


def _describe_algorithms(tables: Tables) -> str:
    settings = tables.campaign.federate
    sent = "; ".join(
        f"{ALGORITHM_FACTS[name].label}: {ALGORITHM_FACTS[name].sends}"
        for name in settings.algorithms
    )
    sentences = [f"What travels in a round: {sent}. Every transfer counts once."]
    if set(settings.algorithms) - set(settings.averaging):
        sentences.append(
            "Where participants have models of their own, accuracies are the mean of these models' "
            "on the same images. Pre-trained models start ahead of random weights, and what their "
            "own training took is in no round."
        )
    if FEDAVG in settings.algorithms:
        sentences.append(
            "Relative targets are shares of the final accuracy of FedAvg from random weights."
        )
    sentences.append(
        "Partitions are the independent units of an interval; fewer than five have none. The "
        "claims of the paper are judged by FedAvg alone."
    )
    return " ".join(sentences)


def _make_rounds_table(rounds: pd.DataFrame) -> list[Table]:
    more = ("Algorithm", "Starts from", "Replicate", "Rounds", "MB until then")
    lines = []
    titles = title_partitions(rounds["partition"])
    for line in rounds.to_dict("records"):
        reached, megabytes = line["rounds_to_target"], line["megabytes_to_target"]
        lines.append(
            [
                SortCell(titles[str(line["partition"])], str(line["partition"])),
                *_make_target_cells(line),
                SortCell(format_algorithm(line["algorithm"]), str(line["algorithm"])),
                SortCell(format_words(line["initial_model"]), str(line["initial_model"])),
                SortCell(str(line["replicate"]), int(line["replicate"])),
                _make_reached_cell(reached, line["rounds"]),
                SortCell(_format_traffic(megabytes), "" if math.isnan(reached) else megabytes),
            ]
        )
    title = "Rounds and traffic to every target, by algorithm"
    return [Table(title, [*TARGET_HEADINGS, *more], lines)] if lines else []


def format_algorithm_files(tables: Tables) -> dict[str, str]:
    """The tables as CSV by file name; traffic is exact."""
    if not has_other_algorithms(tables):
        return {}
    traffic = {"round_megabytes", "start_megabytes", "total_megabytes", "megabytes_to_target"}
    counts = {"target", "rounds_to_target", "rounds"}
    return {
        "algorithms.csv": format_frame(tables.algorithms, traffic),
        "algorithm_rounds.csv": format_frame(tables.algorithm_rounds, traffic | counts),
    }
