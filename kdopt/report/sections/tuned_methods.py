"""Tuned methods: tuned compared with tuned, and the best setting of every pair under each."""

from __future__ import annotations

from kdopt.analysis.results import list_pairs
from kdopt.analysis.tables import Tables, list_name_columns
from kdopt.analysis.tuned_methods import is_tuned, list_method_names
from kdopt.analysis.tuning import describe_selection
from kdopt.report.blocks import Block, PageFigure, ReportData, Section, make_tables
from kdopt.report.columns import Column, Columns, IntervalColumn
from kdopt.report.format import format_frame
from kdopt.report.sections.methods import draw_methods, tabulate_boxes
from kdopt.report.sections.verdicts import make_pair_key


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
    gains = tables.method_gains
    own = gains[(gains["transfer_set"] == "student") & gains["method"].map(is_tuned).astype(bool)]
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
        "interval.",
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
    made = make_tables(f"Settings of {len(set(pairs))} pairs", columns, shown)
    for part in made:
        for pair, line in zip(pairs, part.lines, strict=True):
            line[1] = line[1]._replace(pair=make_pair_key(pair))
    return Block(
        "Best settings of every method",
        "The setting of each pair and method that was selected; click a pair to see all about it.",
        tables=made,
        missing=missing,
    )
