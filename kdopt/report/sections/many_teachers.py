"""Many teachers (paper, section V): all participants distilled into one model."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from kdopt.analysis.tables import Tables
from kdopt.campaign.settings import Campaign
from kdopt.report.blocks import (
    Block,
    Column,
    PageFigure,
    Section,
    explain_missing_stage,
    make_tables,
)
from kdopt.report.format import format_frame, format_title, format_transfer_set
from kdopt.report.sections.federated import (
    draw_federated,
    make_curves_block,
    make_reductions_block,
    make_rounds_block,
)
from kdopt.report.sections.methods import make_noise_block
from kdopt.report.sections.table_two import (
    draw_combined,
    format_combined_latex,
    format_combined_markdown,
    make_combined_grids,
)


class ManyTeachers(NamedTuple):
    """The tables of the stages ``combine`` and ``federate``; empty where nothing is complete."""

    combined: pd.DataFrame
    effects: pd.DataFrame
    agreement: pd.DataFrame
    curves: pd.DataFrame
    levels: pd.DataFrame
    rounds: pd.DataFrame
    reductions: pd.DataFrame


def collect_many_teachers(tables: Tables) -> ManyTeachers:
    """Everything that section V reports of a campaign."""
    return ManyTeachers(
        tables.combined,
        tables.weighting_effects,
        tables.weighting_agreement,
        tables.federated_curves,
        tables.federated_levels,
        tables.rounds_to_target,
        tables.reductions,
    )


def make_many_section(
    many: ManyTeachers | None, campaign: Campaign, evidence: Tables, *, paired: bool
) -> Section:
    """The section on section V; a campaign with neither stage is told what to add."""
    title = "Many teachers"
    note = (
        "Section V of the paper: all participants distilled into one model, and federated "
        "averaging that starts from it."
    )
    if many is None:
        missing = 'No data: add "combine" and "federate" to stages and run again.'
        return Section(
            "many", title, note, [Block("All participants in one model", "", missing=missing)]
        )
    blocks, drawn = make_many_blocks(many, campaign)
    if not paired:  # else it stands among the methods
        blocks.append(make_noise_block(evidence))
    return Section("many", title, note, blocks, drawn)


def make_many_blocks(
    many: ManyTeachers, campaign: Campaign
) -> tuple[list[Block], dict[str, PageFigure]]:
    """The section's parts in the order of the paper, and their figures by element id."""
    drawn: dict[str, PageFigure] = {}
    if len(many.combined):
        figure = draw_combined(many.combined)
        drawn["many-combined"] = PageFigure("table2-combined", figure, many.combined)
    if len(many.curves):
        figure = draw_federated(many.curves, many.levels)
        drawn["many-federated"] = PageFigure("fig9-federated", figure, many.curves)
    blocks = [
        _make_combined_block(many, campaign),
        _make_weighting_block(many, campaign),
        make_curves_block(many.curves, many.levels, campaign),
        make_rounds_block(many.rounds, many.curves, campaign),
        make_reductions_block(many.reductions, many.curves, campaign),
    ]
    return blocks, drawn


def _make_combined_block(many: ManyTeachers, campaign: Campaign) -> Block:
    shown = len(many.combined) > 0
    headings = [
        Column("partition", "Partition", format_title),
        Column("transfer_set", "Transfer set", format_transfer_set),
        Column("start", "Start", format_title),
        Column("weighting", "Weighting", format_title),
        Column("accuracy", "Test accuracy (%)"),
        Column("accuracy_sd", "Its sd over replicates (pp)"),
        Column("validation_accuracy", "Validation accuracy (%)"),
        Column("gain", "Gain over the starting student (pp)"),
        Column("participant", "Started from participant", lambda n: "none" if n < 0 else str(n)),
        Column("replicates", "Replicates", str),
        Column("paper_accuracy", "The paper's accuracy (%)"),
    ]
    return Block(
        "All participants in one model",
        "Table II of the paper: vanilla distillation from all participants, by transfer set, "
        "starting student and weighting of the teachers. Worst and best student are those of "
        "least and greatest validation accuracy. In the figure a line joins the weightings of one "
        "start.",
        "many-combined" if shown else "",
        make_tables("Accuracy of every way of combining", headings, many.combined),
        "" if shown else explain_missing_stage(campaign, "combine"),
        make_combined_grids(many.combined) if shown else (),
    )


def _make_weighting_block(many: ManyTeachers, campaign: Campaign) -> Block:
    formulas = [
        Column("weighting", "Weighting", format_title),
        Column("same_sign", "Cells with the paper's sign", str),
        Column("cells", "of", str),
        Column("constant", "One sign everywhere would have", str),
        Column("partitions_same_sign", "Partitions with the paper's sign", str),
        Column("partitions", "of", str),
        Column("correlation", "Rank correlation with the paper's effects"),
        Column("mean_effect", "Mean effect (pp)"),
        Column("low", "95 % from"),
        Column("high", "to"),
    ]
    effects = [
        Column("partition", "Partition", format_title),
        Column("transfer_set", "Transfer set", format_transfer_set),
        Column("start", "Start", format_title),
        Column("weighting", "Weighting", format_title),
        Column("effect", "Weighted minus unweighted (pp)"),
        Column("paper_effect", "The paper's (pp)"),
        Column("replicates", "Replicates", str),
    ]
    noise = (
        "Every cell ran once here, so differences below the noise of training mean nothing, and "
        "neither do their signs: set replicates = 3 and run again to know that noise."
        if campaign.replicates == 1
        else "Differences below the noise floor mean nothing, and neither do their signs."
    )
    missing = explain_missing_stage(campaign, "combine") if many.combined.empty else ""
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
            *make_tables("How far each formula agrees with the paper", formulas, many.agreement),
            *make_tables("Effect of the weights in every cell", effects, many.effects),
        ],
        missing=missing,
    )


def format_many_files(many: ManyTeachers, campaign: Campaign) -> dict[str, str]:
    """The files of what there is data for, by name."""
    texts: dict[str, str] = {}
    if len(many.combined):
        texts["combined.csv"] = format_frame(many.combined)
        texts["combined.md"] = format_combined_markdown(many.combined, campaign)
        texts["combined.tex"] = format_combined_latex(many.combined, campaign)
    if len(many.curves):
        texts["federated_curves.csv"] = format_frame(many.curves)
    if len(many.rounds):
        texts["rounds_to_target.csv"] = format_rounds_csv(many.rounds)
    return texts


def format_rounds_csv(rounds: pd.DataFrame) -> str:
    """All columns of :func:`kdopt.analysis.federated.count_rounds_to_target`."""
    return format_frame(rounds, {"target", "rounds_random", "rounds_consolidated", "rounds"})
