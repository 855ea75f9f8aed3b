"""Many teachers (paper, section V): all participants distilled into one model, FedAvg from it."""

from __future__ import annotations

from kdopt.analysis.tables import Tables
from kdopt.campaign.federated_algorithms import FEDAVG
from kdopt.campaign.settings import Campaign
from kdopt.report.blocks import (
    Block,
    PageFigure,
    ReportData,
    Section,
    explain_missing_stage,
    make_tables,
)
from kdopt.report.columns import Column, Columns, IntervalColumn
from kdopt.report.format import format_frame
from kdopt.report.sections.federated import (
    ROUND_COUNTS,
    format_algorithm_files,
    make_algorithm_blocks,
    make_curves_block,
    make_reductions_block,
    make_rounds_block,
)
from kdopt.report.sections.table_two import make_combined_grids
from kdopt.report.sections.table_two_figure import draw_combined
from kdopt.report.sections.table_two_files import format_combined_latex, format_combined_markdown


def make_many_section(data: ReportData) -> Section | None:
    """The section on section V; none for a campaign with neither of its stages."""
    if not data.shows_stage("combine", "federate"):
        return None
    return Section(
        "many",
        "Many teachers",
        "Section V of the paper: all participants distilled into one model, and federated "
        "averaging that starts from it.",
        make_many_blocks(data),
        files=format_many_files(data.tables),
    )


def make_many_blocks(data: ReportData) -> list[Block]:
    """The section's parts in the order of the paper, those of a stage where it was asked for."""
    tables, blocks = data.tables, []
    if data.shows_stage("combine"):
        blocks += [make_combined_block(tables), make_weighting_block(tables)]
    if data.shows_stage("federate"):
        blocks.append(make_curves_block(tables))
        if FEDAVG in data.campaign.federate.algorithms:
            blocks += [make_rounds_block(tables), make_reductions_block(tables)]
        blocks += make_algorithm_blocks(tables)
    return blocks


def format_many_files(tables: Tables) -> dict[str, str]:
    """The files of what there is data for, by name."""
    combined, campaign = tables.combined, tables.campaign
    files: dict[str, str] = {}
    if len(combined):
        files["combined.csv"] = format_frame(combined)
        files["combined.md"] = format_combined_markdown(combined, campaign)
        files["combined.tex"] = format_combined_latex(combined, campaign)
    if len(tables.federated_curves):
        files["federated_curves.csv"] = format_frame(tables.federated_curves)
    if len(tables.rounds_to_target):
        files["rounds_to_target.csv"] = format_frame(tables.rounds_to_target, ROUND_COUNTS)
    return files | format_algorithm_files(tables)


def make_combined_block(tables: Tables) -> Block:
    """Table II: test accuracy by transfer set, starting student and weighting."""
    combined, figure = tables.combined, None
    if len(combined):
        figure = PageFigure("many-combined", "table2-combined", draw_combined(combined), combined)
    columns: Columns = [
        *("partition", "transfer_set", "start", "weighting"),
        Column("accuracy", "Test accuracy (%)"),
        *("accuracy_sd", "validation_accuracy", "gain"),
        Column("participant", "Started from participant", lambda n: "none" if n < 0 else str(n)),
        *("replicates", "paper_accuracy"),
    ]
    return Block(
        "All participants in one model",
        "Table II of the paper: vanilla distillation from all participants, by transfer set, "
        "starting student and weighting of the teachers. Worst and best student are those of "
        "least and greatest validation accuracy. In the figure a line joins the weightings of one "
        "start.",
        figure,
        make_tables("Accuracy of every combination", columns, combined),
        "" if figure else explain_missing_stage(tables.campaign, "combine"),
        make_combined_grids(combined) if figure else (),
    )


def make_weighting_block(tables: Tables) -> Block:
    """What adaptive weights change, and how far each formula agrees with the paper."""
    formulas: Columns = [
        *("weighting", "same_sign"),
        Column("cells", "of", str),
        *("constant", "partitions_same_sign"),
        Column("partitions", "of", str),
        "correlation",
        IntervalColumn("mean_effect", over="partitions"),
    ]
    effects: Columns = [
        *("partition", "transfer_set", "start", "weighting"),
        *("effect", "paper_effect", "replicates"),
    ]
    return Block(
        "Weighted against equal teachers",
        "The formula of the weights (Eq. 6) is missing from the text of the paper. The right one "
        "should change accuracies in the same cells and directions as in the paper. The first "
        "table counts these cells, highest correlation first. A formula does not agree if it has "
        "no more of them than one sign everywhere would have, or no clear correlation. For an "
        "untrained student all formulas are the same, so these cells are left out. "
        f"{_describe_noise(tables.campaign)}",
        tables=[
            *make_tables(
                "How far each formula agrees with the paper", formulas, tables.weighting_agreement
            ),
            *make_tables("Effect of the weights in every cell", effects, tables.weighting_effects),
        ],
        missing=_explain_missing_weightings(tables),
    )


def _describe_noise(campaign: Campaign) -> str:
    if campaign.replicates == 1:
        return (
            "Every cell ran once, so differences below the noise of training mean nothing, and "
            "neither do their signs. To measure that noise, set replicates = 3 and run again."
        )
    return "Differences below the noise floor mean nothing, and neither do their signs."


def _explain_missing_weightings(tables: Tables) -> str:
    if tables.combined.empty:
        return explain_missing_stage(tables.campaign, "combine")
    if tables.weighting_effects.empty:
        return 'No data: "equal" and another of combine.weightings have to be complete in one cell.'
    return ""
