"""The page's section on many teachers (paper, section V): Table II, Fig. 9, rounds to target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from kdopt.analysis.tables import Tables, compute_tables
from kdopt.campaign.settings import Campaign
from kdopt.outcome import TrialRow
from kdopt.report.blocks import (
    Block,
    Drawn,
    Heading,
    Part,
    missing_stage,
    set_title,
    table_of,
    title_of,
)
from kdopt.report.federated_view import curves_block, reductions_block, rounds_block
from kdopt.report.many_figures import combined_figure, federated_figure
from kdopt.report.method_view import noise_block
from kdopt.report.table_two import grids


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
    tables = compute_tables(rows, campaign)
    return ManyTeachers(
        tables.combined,
        tables.weighting_effects,
        tables.weighting_agreement,
        tables.federated_curves,
        tables.federated_levels,
        tables.rounds_to_target,
        tables.reductions,
    )


def many_part(
    many: ManyTeachers | None, campaign: Campaign, evidence: Tables, *, paired: bool
) -> Part:
    """The section on section V; a campaign with neither stage is told what to add."""
    title = "Many teachers"
    note = (
        "Section V of the paper: all participants distilled into one model, and federated "
        "averaging that starts from it."
    )
    if many is None:
        missing = 'No data: add "combine" and "federate" to stages and run again.'
        return Part(
            "many", title, note, [Block("All participants in one model", "", missing=missing)]
        )
    blocks, drawn = many_blocks(many, campaign)
    if not paired:  # else it stands among the methods
        blocks.append(noise_block(evidence))
    return Part("many", title, note, blocks, drawn)


def many_blocks(many: ManyTeachers, campaign: Campaign) -> tuple[list[Block], dict[str, Drawn]]:
    """The section's parts in the order of the paper, and their figures by element id."""
    drawn: dict[str, Drawn] = {}
    if len(many.combined):
        figure = combined_figure(many.combined)
        drawn["many-combined"] = Drawn("table2-combined", figure, many.combined)
    if len(many.curves):
        figure = federated_figure(many.curves, many.levels)
        drawn["many-federated"] = Drawn("fig9-federated", figure, many.curves)
    blocks = [
        _combined_block(many, campaign),
        _weighting_block(many, campaign),
        curves_block(many.curves, many.levels, campaign),
        rounds_block(many.rounds, many.curves, campaign),
        reductions_block(many.reductions, many.curves, campaign),
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
        grids(many.combined) if shown else (),
    )


def _weighting_block(many: ManyTeachers, campaign: Campaign) -> Block:
    formulas = [
        Heading("weighting", "Weighting", title_of),
        Heading("same_sign", "Cells with the paper's sign", str),
        Heading("cells", "of", str),
        Heading("constant", "One sign everywhere would have", str),
        Heading("partitions_same_sign", "Partitions with the paper's sign", str),
        Heading("partitions", "of", str),
        Heading("correlation", "Rank correlation with the paper's effects"),
        Heading("mean_effect", "Mean effect (pp)"),
        Heading("low", "95 % from"),
        Heading("high", "to"),
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
        "right should change accuracies where and in the direction that the paper's did. The "
        "first table counts that, greatest correlation first; a formula with no more cells than "
        "one sign everywhere would have, or without a clear correlation, does not agree. For an "
        f"untrained student all formulas are the same, so it is left out there. {noise}",
        tables=[
            *table_of("How far each formula agrees with the paper", formulas, many.agreement),
            *table_of("Effect of the weights in every cell", effects, many.effects),
        ],
        missing=missing,
    )
