"""The page's part on federated averaging (paper, section V-B): Fig. 9 and rounds to target."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from kdopt.analysis.combining import EQUAL
from kdopt.analysis.federated import PAPER_ROUND_REDUCTION
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import CONSOLIDATED
from kdopt.report.blocks import (
    Block,
    Heading,
    SortCell,
    Table,
    missing_stage,
    set_title,
    sort_key,
    table_of,
    title_of,
)
from kdopt.report.table_two import plain
from kdopt.report.tables import points, setting

BOUNDS = {"exact": "", "at least": "at least ", "at most": "at most "}


def curves_block(curves: pd.DataFrame, levels: pd.DataFrame, campaign: Campaign) -> Block:
    """Fig. 9: what federated averaging was run with, its figure, and the levels (test, %)."""
    settings = campaign.federate
    headings = [
        Heading("partition", "Partition", title_of),
        *_with_spread("random_final", "FedAvg from random weights, last round (%)", levels),
        *_with_spread("consolidated_final", "KD, then FedAvg, last round (%)", levels),
        *_with_spread("kd_alone", "KD alone (%)", levels),
        Heading("best_participant", "Best participant alone (%)"),
        Heading("round_megabytes", "Traffic per round (MB)"),
        Heading("start_megabytes", "Traffic of KD (MB)"),
    ]
    untrained, equal = settings.start == "untrained", settings.weighting == EQUAL
    shown = len(curves) > 0
    spread = shown and curves["replicate"].nunique() > 1
    return Block(
        "Federated averaging after distillation",
        f"Fig. 9 of the paper; communication rounds: {settings.rounds}, local epochs: "
        f"{settings.local_epochs}, all {campaign.participants} participants in every round. "
        + (
            f"The consolidated model starts from the {settings.start} "
            f"{'model' if untrained else 'student'} and is distilled on "
            f"{set_title(settings.transfer_set).lower()}, with teachers weighted "
            f"{'equally' if equal else f'by {plain(settings.weighting)}'}; its own accuracy is "
            "the level of KD alone, and round 0 of its curve. "
            if CONSOLIDATED in settings.initial_models
            else ""
        )
        + "The best participant is the best on validation."
        + (
            " Curves are means over replicates, bands reach from the least to the greatest."
            if spread
            else ""
        ),
        "many-federated" if shown else "",
        table_of("Accuracies on test, and traffic", headings, levels),
        "" if shown else missing_stage(campaign, "federate"),
    )


def _with_spread(key: str, text: str, levels: pd.DataFrame) -> list[Heading]:
    """A mean over replicates and, where something was repeated, its standard deviation."""
    spread = Heading(f"{key}_sd", "sd over replicates (pp)")
    return [Heading(key, text), *([spread] if levels[spread.key].notna().any() else [])]


def rounds_block(rounds: pd.DataFrame, curves: pd.DataFrame, campaign: Campaign) -> Block:
    """Rounds and traffic (MB) to every target, one line per partition, target and replicate."""
    headings = [
        "Partition",
        "Target",
        "Test accuracy to reach (%)",
        "Replicate",
        "Rounds from random weights",
        "Rounds after KD",
        "Reduction of rounds (%)",
        "MB from random weights",
        "MB after KD, and of KD",
        "Reduction of MB (%)",
    ]
    lines = [_round_cells(line) for line in rounds.to_dict("records")]
    return Block(
        "Rounds to a target accuracy",
        "The first round whose test accuracy reaches the target; round 0 is the initial model. "
        "Relative targets are shares of the final accuracy from random weights. Where a run never "
        "gets there, more rounds are needed than were run (>), so the reduction is only known to "
        "be at least or at most so much. Traffic (1e6 bytes) is what all participants send and "
        "receive; distilling beforehand costs traffic too, and is counted.",
        tables=[Table("Rounds and traffic to every target", headings, lines)] if lines else [],
        missing="" if lines else _missing_rounds(curves, campaign),
    )


def reductions_block(reductions: pd.DataFrame, curves: pd.DataFrame, campaign: Campaign) -> Block:
    """Mean reductions (%) beside the paper's one number."""
    headings = [
        Heading("label", "Targets", str),
        Heading("reduction", "Mean reduction of rounds (%)"),
        Heading("low", "95 % from"),
        Heading("high", "to"),
        Heading("partitions", "Partitions", str),
        Heading("exact", "Exact", str),
        Heading("at_least", "At least", str),
        Heading("at_most", "At most", str),
        Heading("unknown", "Unknown", str),
        Heading("megabytes_reduction", "Mean reduction of MB (%)"),
        Heading("megabytes_low", "95 % from"),
        Heading("megabytes_high", "to"),
    ]
    return Block(
        "Rounds saved on average",
        f"The paper's second version states a mean reduction of {PAPER_ROUND_REDUCTION:g} %, on "
        "CIFAR-10 and for targets that its text lost, so there is nothing here that has to equal "
        "it: means are shown per target, per kind of target and over all. Bounds (at least, at "
        "most) enter a mean with their value; how many there are is counted beside it.",
        tables=table_of("Mean reductions", headings, reductions),
        missing="" if len(reductions) else _missing_rounds(curves, campaign),
    )


def _missing_rounds(curves: pd.DataFrame, campaign: Campaign) -> str:
    if curves.empty:
        return missing_stage(campaign, "federate")
    settings = campaign.federate
    if len(settings.initial_models) < 2:
        return (
            'No data: set federate.initial_models = ["random", "consolidated"] and run again, to '
            "compare the two."
        )
    if not settings.targets and not settings.relative_targets:
        return "No data: name targets in federate.targets or federate.relative_targets."
    return "No data yet: no replicate is complete from both initial models."


def _round_cells(line: Mapping[Any, Any]) -> list[SortCell]:
    """One line of :func:`kdopt.analysis.federated.count_rounds_to_target` as people read it."""
    target = f"{setting(100 * line['target'])} %"
    if line["kind"] == "relative":
        target += " of FedAvg's final"
    accuracy, bound = line["target_accuracy"], line["bound"]
    partition = title_of(line["partition"])
    reached = [line["rounds_random"], line["rounds_consolidated"]]
    traffic = [line["megabytes_random"], line["megabytes_consolidated"]]
    return [
        SortCell(partition, partition),
        SortCell(target, sort_key(accuracy)),
        SortCell(points(accuracy), sort_key(accuracy)),
        SortCell(str(line["replicate"]), int(line["replicate"])),
        *(_spent(r, line["rounds"] if math.isnan(r) else r, setting) for r in reached),
        _bounded(line["reduction"], bound),
        *(_spent(r, mb, points) for r, mb in zip(reached, traffic, strict=True)),
        _bounded(line["megabytes_reduction"], bound),
    ]


def _spent(reached: float, spent: float, show: Callable[[float], str]) -> SortCell:
    """What was spent until the target was reached, or that all of it was not enough."""
    if math.isnan(spent) or not math.isnan(reached):
        return SortCell(show(spent), sort_key(float(spent)))
    return SortCell(f"> {show(spent)}", sort_key(spent + 1e-6))  # just after what did reach it


def _bounded(value: float, bound: str) -> SortCell:
    if math.isnan(value):
        return SortCell("unknown", "")
    return SortCell(BOUNDS.get(bound, f"{bound} ") + points(value), sort_key(value))
