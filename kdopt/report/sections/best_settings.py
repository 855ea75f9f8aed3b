"""Best settings: maps of T and alpha (paper, Fig. 3), the table of all pairs, and tuned methods."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from kdopt.analysis.method_gains import select_own
from kdopt.analysis.results import list_pairs
from kdopt.analysis.tables import Tables, list_name_columns
from kdopt.analysis.tuned_methods import is_tuned, list_method_names
from kdopt.analysis.tuning import describe_selection, describe_vanilla
from kdopt.campaign.settings import Campaign
from kdopt.report.blocks import (
    Block,
    PageFigure,
    ReportData,
    Section,
    explain_missing_stage,
    make_pair_key,
    make_tables,
)
from kdopt.report.columns import COLUMNS, Column, Columns, IntervalColumn
from kdopt.report.format import (
    escape_latex,
    escape_markdown,
    format_frame,
    format_pipe_table,
    format_points,
    format_ratio,
    make_slug,
    title_partitions,
)
from kdopt.report.sections.methods import draw_methods, tabulate_boxes
from kdopt.report.setting_maps import MAPS, add_labels, draw_sheet, list_sheet_rows
from kdopt.shown import format_count, format_setting

SETTING_COLUMNS = (
    "temperature", "alpha", "oracle_temperature", "oracle_alpha", "effective_kd_weight",
)  # fmt: skip
SEARCH_NOTES = {
    "grid": "The sequential search (every alpha at T = 1, then every T at the best alpha) is "
    "replayed on the complete grids, so it took no trials of its own.",
    "sequential": "The search was sequential: the grid was not run, so only its own trials are "
    "known.",
}
CELL_COUNTS = ("cells_done", "cells_failed", "cells_planned")
NUMBER_FORMATS = (format_points, format_ratio, format_setting)
"""Of the columns that end in line."""


def make_maps_section(data: ReportData) -> Section | None:
    """Three maps per partition with a result, and what is missing in the others."""
    if not data.has_tuning:
        return None
    best, campaign = data.best_settings, data.campaign
    names = list(dict.fromkeys(map(str, best["partition"])))
    blocks = [
        make_maps_block(number, name, title, best[best["partition"] == name], campaign)
        for number, (name, title) in enumerate(title_partitions(names).items())
    ]
    blocks += [*make_sheet_blocks(data.tables), make_protocol_block(data.tables)]
    files = {
        "best_settings.csv": format_frame(best, SETTING_COLUMNS),
        "best_settings.md": format_best_markdown(best, campaign),
        "best_settings.tex": format_best_latex(best, campaign),
    }
    return Section(
        "maps",
        "Best settings",
        "Fig. 3 of the paper: every point is a teacher-student pair at its best cell, the "
        "temperature and alpha of KD on the student's own data that were "
        f"{describe_selection(campaign)}. The colour is the test gain of that cell. The shape is "
        "the verdict on the pair: to distil at that cell (circles), by another method or on "
        "other images (diamonds), or not to distil (crosses). Click a point to see the pair. "
        "Points that would hide each other are moved apart; their true values are in their texts "
        "and data.",
        blocks,
        files=files,
    )


def make_maps_block(
    number: int, name: str, title: str, best: pd.DataFrame, campaign: Campaign
) -> Block:
    """The maps of one partition.

    Args:
        number: Of the partition, from 0.
        name: Its name.
        title: How people call it.
        best: The best settings of its pairs.
        campaign: What was planned.
    """
    known = best["accuracy_gap"].notna() & best["temperature"].notna()
    if not known.any():
        missing = "No data yet: no pair of this partition has a result; continue the campaign."
        return Block(title, missing=missing)
    waiting = int(best["temperature"].isna().sum())
    return Block(
        title,
        missing=f"No result yet: {waiting:,} of {format_count(len(best), 'pair')}."
        if waiting
        else "",
        small=[
            PageFigure(
                f"map-{number}-{key}",  # not the name: names in a spec are not ours to trust
                f"fig3-{number + 1}-{make_slug(name)}-{key}",
                draw(best, campaign),
                best,
                SETTING_COLUMNS,
                caption,
            )
            for key, (caption, draw) in MAPS.items()
        ],
    )


def make_sheet_blocks(tables: Tables) -> list[Block]:
    """Fig. 3 as the paper has it, on one sheet; none before there is a result."""
    best = tables.measured_settings
    if best.empty:
        return []
    sheet = list_sheet_rows(best, tables.method_gains)
    if not sheet:
        return []
    drawn = draw_sheet(sheet, [tables.campaign])
    figure = PageFigure("maps-sheet", "fig3", drawn, best, SETTING_COLUMNS)
    note = (
        "Best alpha and best temperature of every pair, and the sums and distributions of gains "
        "by method on the student's own data."
    )
    return [Block("Fig. 3 on one sheet", note, figure, folded=True)]


def make_protocol_block(tables: Tables) -> Block:
    """The full grid beside the sequential search: trials used and gain reached."""
    campaign, sampler = tables.campaign, tables.campaign.tune.sampler
    columns: Columns = [
        *("partition", "protocol"),
        Column("trials", "Trials per pair", lambda n: f"{n:.1f}".removesuffix(".0")),
        IntervalColumn(Column("test_gain", "Mean test gain (pp)")),
        *("same_cell", "n"),
    ]
    missing = ""
    if tables.protocols.empty:
        missing = explain_missing_stage(campaign, "tune")
        if "tune" in campaign.stages:
            missing = "No data yet: no pair's search is complete, or the grid has no T = 1."
    return Block(
        "Sequential search or full grid",
        SEARCH_NOTES.get(sampler, f"The sampler was {sampler}: only its own trials are known."),
        tables=make_tables("Trials used and gain reached", columns, tables.protocols),
        missing=missing,
    )


def list_columns(best: pd.DataFrame) -> list[Column]:
    """The columns people read; the CSV file has all columns of the frame.

    The spread over replicates is shown where some cell has more than one.
    """
    spread = ["test_gain_sd"] if (best["replicates"] > 1).any() else []
    keys = [
        *(
            "pair",
            *list_name_columns(best),
            "accuracy_gap",
            "temperature",
            "alpha",
            "effective_kd_weight",
        ),
        *("validation_gain", "test_gain"),
        *spread,
        *("control_gain", "net_gain", "vanilla_gain"),
        *("oracle_temperature", "oracle_alpha", "oracle_gain"),
        *("advice", "advised_gain", "cells"),
    ]
    return [COLUMNS[key] for key in keys]


def list_file_columns(best: pd.DataFrame) -> list[Column]:
    """The same for Markdown and LaTeX: every column is one of the CSV file, with its values."""
    columns = [Column("partition", "Partition", str)]
    for column in list_columns(best):
        columns += [COLUMNS[key] for key in CELL_COUNTS] if column.key == "cells" else [column]
    return columns


def format_best_markdown(best: pd.DataFrame, campaign: Campaign) -> str:
    """The best-settings table as a Markdown pipe table under a sentence on what it holds."""
    shown = list_file_columns(best)
    rules = ("---:" if column.show in NUMBER_FORMATS else "---" for column in shown)
    table = format_pipe_table([c.heading for c in shown], _format_cells(best, shown), rules)
    return f"{escape_markdown(describe_best_settings(best, campaign))}\n\n{table}\n"


def format_best_latex(best: pd.DataFrame, campaign: Campaign) -> str:
    """The best-settings table as a LaTeX longtable with booktabs rules, ready to paste."""
    hidden = {"effective_kd_weight", "oracle_temperature", "oracle_alpha", *CELL_COUNTS}
    shown = [column for column in list_file_columns(best) if column.key not in hidden]
    align = "".join("r" if column.show in NUMBER_FORMATS else "l" for column in shown)
    math_names = {"T": "$T$", "alpha": r"$\alpha$"}
    head = " & ".join(math_names.get(c.heading, escape_latex(c.heading)) for c in shown) + r" \\"
    return "\n".join(
        [
            r"% needs \usepackage{booktabs,longtable}",
            r"\begingroup\footnotesize\setlength{\tabcolsep}{3pt}",
            rf"\begin{{longtable}}{{{align}}}",
            rf"\caption{{{escape_latex(describe_best_settings(best, campaign))}}} \\",
            r"\toprule",
            head,
            r"\midrule",
            r"\endhead",
            r"\bottomrule",
            r"\endfoot",
            *(
                " & ".join(map(escape_latex, cells)) + r" \\"
                for cells in _format_cells(best, shown)
            ),
            r"\end{longtable}",
            r"\endgroup",
            "",
        ]
    )


def describe_best_settings(best: pd.DataFrame, campaign: Campaign) -> str:
    """What the best-settings table holds, how its cells were chosen, and what it lacks."""
    missing = int((~best["complete"].astype(bool)).sum())
    unfinished = (
        f" Not final: {missing} of {format_count(len(best), 'pair')} incomplete." if missing else ""
    )
    return (
        f"Best temperature and alpha of every teacher-student pair of campaign {campaign.name}, "
        f"{describe_selection(campaign)}; gains in percentage points; "
        f"vanilla is {describe_vanilla(campaign)}; the oracle is selected on test.{unfinished}"
    )


def _format_cells(best: pd.DataFrame, shown: Sequence[Column]) -> list[list[str]]:
    lines = add_labels(best).to_dict("records")
    return [[column.show(line[column.key]) for column in shown] for line in lines]


def make_tuned_section(data: ReportData) -> Section | None:
    """The section; none for a campaign that tunes temperature and alpha alone."""
    tables = data.tables
    if not list_method_names(tables.results):
        return None
    table = tables.tuned_methods
    missing = "" if len(table) else "No data yet: no trial of a tuned method is complete."
    return Section(
        "tuned-methods",
        "Tuned methods",
        "Every method at each pair's own best setting, "
        f"{describe_selection(data.campaign)}: tuned is compared with tuned. More trials find "
        "more, so mind how many each method had. All of them are candidates of a pair's verdict.",
        [_make_comparison_block(tables, missing), _make_settings_block(tables, missing)],
        files={"tuned_methods.csv": format_frame(table)} if len(table) else {},
    )


def _make_comparison_block(tables: Tables, missing: str) -> Block:
    own = select_own(tables.method_gains)
    own = own[own["method"].map(is_tuned).astype(bool)]
    boxes, figure = tabulate_boxes(own, tables.transfers), None
    if len(boxes):
        figure = PageFigure("tuned-gains", "tuned-methods", draw_methods(boxes), boxes)
    columns: Columns = [
        *("partition", "method", "n", "trials"),
        IntervalColumn("mean_gain"),
        "net_gain",
        IntervalColumn(Column("difference", "Beyond tuned KD (pp)"), "difference_"),
        Column("times_best", "Best of its pairs", str),
    ]
    return Block(
        "Tuned against tuned",
        "Gains on test. The difference is to plain distillation at each pair's best T and alpha "
        "(with its budget searched too, where the others' is). Boxes: quartiles, whiskers at the "
        "5th and 95th percentile of pairs, on the student's own data; markers: mean with its 95 % "
        "interval over participants.",
        figure,
        make_tables("Tuned methods by partition", columns, tables.tuned_summary),
        missing,
    )


def _make_settings_block(tables: Tables, missing: str) -> Block:
    table = tables.tuned_methods
    pairs = list_pairs(table)
    shown = table.assign(
        pair=[pair.label for pair in pairs],
        chosen=["selected" if best else "" for best in table["best"]],
    )
    columns: Columns = [
        *("partition", "pair", *list_name_columns(table), "method", "transfer_set"),
        Column("setting", "Setting", str),
        Column("chosen", "Best of the pair", str),
        "validation_gain",
        *("test_gain", "control_gain", "net_gain"),
        Column("published_gain", "As published, or vanilla (pp)"),
        Column("trials_done", "Trials", str),
    ]
    made = make_tables(f"Settings of {format_count(len(set(pairs)), 'pair')}", columns, shown)
    for part in made:
        for pair, line in zip(pairs, part.lines, strict=True):
            line[1] = line[1]._replace(pair=make_pair_key(pair))
    return Block(
        "Best settings of every method",
        "The setting of each pair and method that was selected; click a pair to see all about it.",
        tables=made,
        missing=missing,
    )
