"""The page's section on many teachers (paper, section V): Table II, Fig. 9, rounds to target."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from kdopt.analysis.combined import agreement, combined, weighting_effects
from kdopt.analysis.federated import curves, levels, reductions, rounds_to_target
from kdopt.analysis.paper_results import MEAN_ROUND_REDUCTION
from kdopt.outcome import TrialRow
from kdopt.plan import Campaign
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
from kdopt.report.many_figures import combined_figure, federated_figure
from kdopt.report.table_two import grid, plain, table_two
from kdopt.report.tables import points, setting

BOUNDS = {"exact": "", "at least": "at least ", "at most": "at most "}


class ManyTeachers(NamedTuple):
    """The tables of the stages ``combine`` and ``federate``; empty where nothing is complete."""

    combined: pd.DataFrame
    effects: pd.DataFrame
    agreement: pd.DataFrame
    curves: pd.DataFrame
    levels: pd.DataFrame
    rounds: pd.DataFrame
    reductions: pd.DataFrame


def many_teachers(rows: Sequence[TrialRow], campaign: Campaign) -> ManyTeachers:
    """Everything that section V reports of a campaign."""
    effects = weighting_effects(rows, campaign)
    rounds = rounds_to_target(rows, campaign)
    return ManyTeachers(
        combined(rows, campaign),
        effects,
        agreement(effects),
        curves(rows),
        levels(rows, campaign),
        rounds,
        reductions(rounds, campaign),
    )


def many_blocks(many: ManyTeachers, campaign: Campaign) -> tuple[list[Block], dict[str, Any]]:
    """The section's parts in the order of the paper, and their figures by element id."""
    drawn: dict[str, Any] = {}
    if len(many.combined):
        drawn["many-combined"] = combined_figure(many.combined)
    if len(many.curves):
        drawn["many-federated"] = federated_figure(many.curves, many.levels)
    blocks = [
        _combined_block(many, campaign),
        _weighting_block(many, campaign),
        _federated_block(many, campaign),
        _rounds_block(many, campaign),
        _reduction_block(many, campaign),
    ]
    return blocks, drawn


def _combined_block(many: ManyTeachers, campaign: Campaign) -> Block:
    shown = len(many.combined) > 0
    headings = [
        Heading("partition", "Partition", title_of),
        Heading("transfer_set", "Transfer set", set_title),
        Heading("start", "Start", title_of),
        Heading("weighting", "Weighting", title_of),
        Heading("accuracy", "Test accuracy (%)"),
        Heading("accuracy_sd", "Its sd over replicates (pp)"),
        Heading("validation_accuracy", "Validation accuracy (%)"),
        Heading("gain", "Gain over the starting student (pp)"),
        Heading("participant", "Started from participant", lambda n: "none" if n < 0 else str(n)),
        Heading("replicates", "Replicates", str),
        Heading("paper_accuracy", "The paper's accuracy (%)"),
    ]
    return Block(
        "All participants in one model",
        "Table II of the paper: vanilla distillation from all participants, by transfer set, "
        "starting student and weighting of the teachers. Worst and best student are those of "
        "least and greatest validation accuracy. In the figure a line joins the weightings of one "
        "start.",
        "many-combined" if shown else "",
        table_of("Accuracy of every way of combining", headings, many.combined),
        "" if shown else missing_stage(campaign, "combine"),
        grid(table_two(many.combined)) if shown else None,
    )


def _weighting_block(many: ManyTeachers, campaign: Campaign) -> Block:
    formulas = [
        Heading("weighting", "Weighting", title_of),
        Heading("same_sign", "Cells with the paper's sign", str),
        Heading("cells", "of", str),
        Heading("partitions_same_sign", "Partitions with the paper's sign", str),
        Heading("partitions", "of", str),
        Heading("correlation", "Rank correlation with the paper's effects"),
        Heading("mean_effect", "Mean effect (pp)"),
    ]
    effects = [
        Heading("partition", "Partition", title_of),
        Heading("transfer_set", "Transfer set", set_title),
        Heading("start", "Start", title_of),
        Heading("weighting", "Weighting", title_of),
        Heading("effect", "Weighted minus unweighted (pp)"),
        Heading("paper_effect", "The paper's (pp)"),
        Heading("replicates", "Replicates", str),
    ]
    noise = (
        "Every cell ran once here, so differences below the noise of training mean nothing, and "
        "neither do their signs: set replicates = 3 and run again to know that noise."
        if campaign.replicates == 1
        else "Differences below the noise floor mean nothing, and neither do their signs."
    )
    missing = missing_stage(campaign, "combine") if many.combined.empty else ""
    if many.effects.empty and not missing:
        missing = (
            'No data: "equal" and another of combine.weightings have to be complete in one cell.'
        )
    return Block(
        "Weighted against equal teachers",
        "The text of the paper lost its formula of the weights (Eq. 6). A reading of it that is "
        "right should change accuracies where and in the direction that the paper's did: the "
        f"first table counts that, best formula first. {noise}",
        tables=[
            *table_of("Which formula agrees with the paper", formulas, many.agreement),
            *table_of("Effect of the weights in every cell", effects, many.effects),
        ],
        missing=missing,
    )


def _federated_block(many: ManyTeachers, campaign: Campaign) -> Block:
    settings = campaign.federate
    headings = [
        Heading("partition", "Partition", title_of),
        Heading("random_final", "FedAvg from random weights, last round (%)"),
        Heading("consolidated_final", "KD, then FedAvg, last round (%)"),
        Heading("kd_alone", "KD alone (%)"),
        Heading("best_participant", "Best participant alone (%)"),
        Heading("round_megabytes", "Traffic per round (MB)"),
        Heading("start_megabytes", "Traffic of KD (MB)"),
    ]
    shown = len(many.curves) > 0
    spread = shown and many.curves["replicate"].nunique() > 1
    return Block(
        "Federated averaging after distillation",
        f"Fig. 9 of the paper: {settings.rounds} rounds, {settings.local_epochs} local epochs, "
        f"all {campaign.participants} participants in every round. The consolidated model starts "
        f"from the {settings.start} {'model' if settings.start == 'untrained' else 'student'}, is "
        f"distilled on {set_title(settings.transfer_set).lower()}, with teachers weighted by "
        f"{plain(settings.weighting)}; its own accuracy is the level of KD alone, and round 0 of "
        "its curve. The best participant is the best on validation."
        + (
            " Curves are means over replicates, bands reach from the least to the greatest."
            if spread
            else ""
        ),
        "many-federated" if shown else "",
        table_of("Accuracies on test, and traffic", headings, many.levels),
        "" if shown else missing_stage(campaign, "federate"),
    )


def _rounds_block(many: ManyTeachers, campaign: Campaign) -> Block:
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
    lines = [_round_cells(line) for line in many.rounds.to_dict("records")]
    return Block(
        "Rounds to a target accuracy",
        "The first round whose test accuracy reaches the target; round 0 is the initial model. "
        "Relative targets are shares of the final accuracy from random weights. Where a run never "
        "gets there, more rounds are needed than were run (>), so the reduction is only known to "
        "be at least or at most so much. Traffic (1e6 bytes) is what all participants send and "
        "receive; distilling beforehand costs traffic too, and is counted.",
        tables=[Table("Rounds and traffic to every target", headings, lines)] if lines else [],
        missing="" if lines else _missing_rounds(many, campaign),
    )


def _reduction_block(many: ManyTeachers, campaign: Campaign) -> Block:
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
    ]
    return Block(
        "Rounds saved on average",
        f"The paper's second version states a mean reduction of {MEAN_ROUND_REDUCTION:g} %, on "
        "CIFAR-10 and for targets that its text lost, so there is nothing here that has to equal "
        "it: means are shown per target, per kind of target and over all. Bounds (at least, at "
        "most) enter a mean with their value; how many there are is counted beside it.",
        tables=table_of("Mean reductions", headings, many.reductions),
        missing="" if len(many.reductions) else _missing_rounds(many, campaign),
    )


def _missing_rounds(many: ManyTeachers, campaign: Campaign) -> str:
    if many.curves.empty:
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
    """One line of :func:`kdopt.analysis.federated.rounds_to_target` as people read it."""
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
