"""The answer of a campaign in one line, for the terminal and for notes."""

from __future__ import annotations

import math

from kdopt.campaign.names import pair_label
from kdopt.report.blocks import ReportData
from kdopt.report.format import format_points, format_signed, format_transfer_set


def format_answer(data: ReportData) -> str:
    """What a campaign found, such as ``distilling pays in 13 of 24 pairs: +1.6 pp net``.

    Empty before there is a result. What is said of pairs are their verdicts; the gain is the mean
    test gain of following them, net of training on without a teacher where that was done.
    """
    said = [
        *([_describe_pairs(data)] if data.has_pairs else []),
        *([_describe_combined(data)] if data.shows_stage("combine") else []),
    ]
    return "; ".join(text for text in said if text)


def _describe_pairs(data: ReportData) -> str:
    table = data.tables.verdicts
    decided = table[table["action"] != "undecided"]
    if decided.empty:
        return ""
    pays = decided[decided["action"] == "distil"]
    # A mean over those alone whose control has run would be of the pairs that are not distilled.
    gains = decided["test_gain" if decided["net_gain"].isna().any() else "net_gain"]
    what = "net of training on alone, mean of all"
    if gains.name == "test_gain":
        what = "on test, mean of all"
        if data.campaign.runs_control:
            what += " (net of training on alone: not yet)"
    text = (
        f"distilling pays in {len(pays):,} of {len(decided):,} pairs: "
        f"{format_signed(float(gains.mean()))} pp {what}"
    )
    lines = [line for line in pays.to_dict("records") if math.isfinite(line[gains.name])]
    if not lines:
        return text
    best = max(lines, key=lambda line: float(line[gains.name]))
    pair = f"{best['partition']}/{pair_label(int(best['teacher']), int(best['student']))}"
    who = data.campaign.describe_pair(int(best["teacher"]), int(best["student"]))
    named = f"{pair}, {who}" if who else pair
    return f"{text}; best {format_signed(best[gains.name])} pp ({named})"


def _describe_combined(data: ReportData) -> str:
    table = data.tables.combined
    best = max(
        table.to_dict("records"), key=lambda line: float(line["validation_accuracy"]), default=None
    )
    if best is None:
        return ""
    return (
        f"best combined model {format_points(float(best['accuracy']))} % on test "
        f"({best['partition']}, {format_transfer_set(best['transfer_set']).lower()})"
    )
