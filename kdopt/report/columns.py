"""The columns of tables for people: heading, unit, and how a cell is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import pandas as pd

from kdopt.analysis.results import Line
from kdopt.report.export_columns import EXPORT_COLUMNS, name_export_column
from kdopt.report.format import (
    format_algorithm,
    format_chance,
    format_hours,
    format_points,
    format_ratio,
    format_seconds,
    format_title,
    format_transfer_set,
    format_words,
)
from kdopt.report.plotting import format_method
from kdopt.shown import format_setting


class Column(NamedTuple):
    """One column of a table for people: its heading and the text of a cell.

    Attributes:
        key: Column of the frame, whose values the page sorts by.
        heading: What people read above it, with the unit.
        show: From a cell's value to its text; unknown numbers become an empty text.
    """

    key: str
    heading: str
    show: Callable[[Any], str] = format_points


class IntervalColumn(NamedTuple):
    """A value and its 95 % interval, shown in two columns.

    Attributes:
        column: The value; a key stands for its column in :data:`COLUMNS`.
        prefix: Of the frame's columns ``low`` and ``high``, such as ``regret_``.
        absent: What is said where there is a value and no interval; ``{over}`` is filled in.
        over: What the interval is over: what might have been others.
    """

    column: Column | str
    prefix: str = ""
    absent: str = "too few {over}"
    over: str = "participants"


class ShownColumn(NamedTuple):
    """One column as the page shows it.

    Attributes:
        heading: What people read above it.
        tip: What it is, in a few words; empty where the heading says all.
        name: What files call it.
        read: From a line of the frame to a cell's text and the value it sorts by.
    """

    heading: str
    tip: str
    name: str
    read: Callable[[Line], tuple[str, Any]]


Columns = list[Column | IntervalColumn | str]
"""Of a table, in order; a key stands for its column in :data:`COLUMNS`."""

COLUMNS = {
    column.key: column
    for column in (
        Column("accuracy", "Accuracy (%)"),
        Column("action", "Verdict", str),
        Column("accuracy_gap", "Accuracy gap (pp)"),
        Column("accuracy_after", "Accuracy after (%)"),
        Column("accuracy_before", "Accuracy before (%)"),
        Column("accuracy_sd", "Accuracy, sd over replicates (pp)"),
        Column("advice", "Verdict", str),
        Column("against", "Not to distil", str),
        Column("against_share", "Share (%)"),
        Column("algorithm", "Algorithm", format_algorithm),
        Column("alpha", "alpha", format_setting),
        Column("as_good", "as good", str),
        Column("at_least", "At least", str),
        Column("at_most", "At most", str),
        Column("beats_vanilla", "Pairs where tuned gains more", str),
        Column("behind_lead", "Behind the leading rule (pp)"),
        Column("best_epoch", "Best epoch", str),
        Column("best_gain", "Its gain (pp)"),
        Column("best_method", "Best untuned", format_method),
        Column("best_participant", "Best participant alone (%)"),
        Column("cases", "Cases", str),
        Column("cells", "Cells", str),
        Column("cells_done", "Cells done", str),
        Column("cells_failed", "Cells failed", str),
        Column("cells_planned", "Cells planned", str),
        Column("chance_over_leaving", "p against leaving it", format_chance),
        Column("chance_over_training", "p against training on", format_chance),
        Column("classes", "Classes among them", str),
        Column("compared", "Pairs with vanilla", str),
        Column("consolidated_final", "KD, then FedAvg, last round (%)"),
        Column("constant", "One sign everywhere would have", str),
        Column("correlation", "Rank correlation with the paper's effects"),
        Column("cumulative_gain", "Sum of gains (pp)"),
        Column("difference", "Difference (pp)"),
        Column("effect", "Weighted minus unweighted (pp)"),
        Column("effective_kd_weight", "KD weight over label weight", format_ratio),
        Column("epochs", "Epochs", str),
        Column("exact", "Exact", str),
        Column("final_accuracy", "After the last round (%)"),
        Column("first_accuracy", "Before the first round (%)"),
        Column("forgetting", "Forgetting (pp)"),
        Column("gain", "Gain over the starting student (pp)"),
        Column("guarded_gain", "Guarded test gain (pp)"),
        Column("control_gain", "Control (pp)"),
        Column("net_gain", "Net gain (pp)"),
        Column("advised_gain", "Gain of the verdict (pp)"),
        Column("guarded_regret", "Regret with guard (pp)"),
        Column("hours", "Training time", format_hours),
        Column("images", "Training images", str),
        Column("initial_model", "Starts from", format_words),
        Column("kd_alone", "KD alone (%)"),
        Column("label", "What is done", str),
        Column("learning", "Learning (pp)"),
        Column("mean_effect", "Mean effect (pp)"),
        Column("mean_gain", "Mean gain (pp)"),
        Column("mean_negative", "Mean of the negative ones (pp)"),
        Column("mean_positive", "Their mean gain (pp)"),
        Column("median", "Median (pp)"),
        Column("median_seconds", "Median of a trial (s)", format_seconds),
        Column("megabytes_reduction", "Mean reduction of MB (%)"),
        Column("method", "Method", format_method),
        Column("n", "Pairs", str),
        Column("oracle_alpha", "Oracle alpha", format_setting),
        Column("oracle_gain", "Oracle test gain (pp)"),
        Column("oracle_temperature", "Oracle T", format_setting),
        Column("p05", "5th percentile (pp)"),
        Column("p95", "95th percentile (pp)"),
        Column("p95_seconds", "95th percentile (s)", format_seconds),
        Column("pair", "Pair", str),
        Column("paper_accuracy", "The paper's accuracy (%)"),
        Column("paper_effect", "The paper's (pp)"),
        Column("participant", "Participant", str),
        Column("participant_name", "Name", str),
        Column("partition", "Partition", format_title),
        Column("partitions", "Partitions", str),
        Column("partitions_same_sign", "Partitions with the paper's sign", str),
        Column("positive_rate", "Positive transfers (%)"),
        Column("protocol", "Search", str),
        Column("q1", "Quartile (pp)"),
        Column("q3", "Quartile (pp)"),
        Column("random_final", "FedAvg from random weights, last round (%)"),
        Column("ratio", "Ratio (%)"),
        Column("net_ratio", "Net ratio (%)"),
        Column("reduction", "Mean reduction of rounds (%)"),
        Column("regret", "Regret (pp)"),
        Column("replicates", "Replicates", str),
        Column("round_megabytes", "Traffic per round (MB)"),
        Column("rule", "If", str),
        Column("same_cell", "Same cell (%)"),
        Column("same_sign", "Cells with the paper's sign", str),
        Column("sd", "Standard deviation (pp)"),
        Column("searched_gain", "if everything is tried (pp)"),
        Column("seconds", "Training time (s)", format_seconds),
        Column("stage", "Stage", str),
        Column("start", "Start", format_title),
        Column("start_megabytes", "Traffic of KD (MB)"),
        Column("student_name", "Student", str),
        Column("students", "Students", str),
        Column("teacher_kind", "Teachers", str),
        Column("teacher_name", "Teacher", str),
        Column("temperature", "T", format_setting),
        Column("test_accuracy", "Test accuracy (%)"),
        Column("test_gain", "Test gain (pp)"),
        Column("test_gain_sd", "Test gain, sd over replicates (pp)"),
        Column("times_best", "Times best teacher"),
        Column("total", "Of so many", str),
        Column("transfer_set", "Transfer set", format_transfer_set),
        Column("trials", "Trials", str),
        Column("tried", "Tried", str),
        Column("tuned_gain", "Tuned (pp)"),
        Column("tuning_effect", "Mean tuned minus vanilla (pp)"),
        Column("unknown", "Unknown", str),
        Column("validation_accuracy", "Validation accuracy (%)"),
        Column("validation_gain", "Validation gain (pp)"),
        Column("vanilla_gain", "Vanilla test gain (pp)"),
        Column("weighting", "Weighting", format_title),
    )
}
"""Every column of the page's tables, by key. A table with another heading brings its own."""


def expand_column(column: Column | IntervalColumn | str) -> list[ShownColumn]:
    """The columns that one entry stands for: one, or a value and its interval."""
    if isinstance(column, IntervalColumn):
        value = _find_column(column.column)
        return [_show_value(value), _show_interval(column, value)]
    return [_show_value(_find_column(column))]


def _find_column(column: Column | str) -> Column:
    return COLUMNS[column] if isinstance(column, str) else column


def _show_value(column: Column) -> ShownColumn:
    described = EXPORT_COLUMNS.get(column.key)
    return ShownColumn(
        column.heading,
        described.meaning if described else "",
        name_export_column(column.key),
        lambda line: (column.show(line[column.key]), line[column.key]),
    )


def _show_interval(column: IntervalColumn, value: Column) -> ShownColumn:
    def read(line: Line) -> tuple[str, Any]:
        low, high = (line[f"{column.prefix}{end}"] for end in ("low", "high"))
        if not pd.isna(low):
            return f"[{format_points(low)}, {format_points(high)}]", low
        known = line[value.key]
        absent = column.absent.format(over=column.over)
        return (value.show(known) if pd.isna(known) else absent), low

    name = name_export_column(f"{column.prefix}low")
    tip = f"95 % interval over {column.over} of: {value.heading}"
    return ShownColumn("95 %", tip, name, read)


def describe_intervals(columns: Iterable[Column | IntervalColumn | str]) -> str:
    """What the intervals of a table are over; empty for a table that has none."""
    found = [column for column in columns if isinstance(column, IntervalColumn)]
    kinds = list(dict.fromkeys(column.over for column in found))
    if len(kinds) < 2:
        return "".join(f"95 %: the interval of the number before it, over {k}." for k in kinds)
    each = (f"{_find_column(c.column).heading}: over {c.over}" for c in found)
    return f"95 %: the interval of the number before it. {'; '.join(each)}."
