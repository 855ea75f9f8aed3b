"""The answer of a campaign in one line, for the terminal, notes and the top of the page."""

from __future__ import annotations

import math

from kdopt.analysis.verdicts import VERDICTS
from kdopt.campaign.names import pair_label
from kdopt.report.blocks import ReportData
from kdopt.report.format import (
    format_points,
    format_signed,
    format_transfer_set,
    includes_zero,
    title_partitions,
)


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


def compose_answer(data: ReportData) -> str:
    """What to do with how many pairs, and what that brings; empty before there is a verdict."""
    if not data.has_pairs:
        return ""
    table = data.tables.verdicts
    counts = table["action"].value_counts()
    n = {action: int(counts.get(action, 0)) for action in VERDICTS}
    if n["undecided"] == len(table):
        return ""
    taught = table.loc[table["action"] == "distil", "partition"].unique()
    only = len(taught) == 1 and table["partition"].nunique() > 1
    titles = title_partitions(table["partition"])
    where = f", all of {titles[str(taught[0])]}" if only and n["distil"] > 1 else ""
    said = [
        f"Distil {n['distil'] or 'none'} of the {len(table):,} pairs{where}",
        *([f"train {n['train on']:,} on without a teacher"] if n["train on"] else []),
        *([f"leave {n['leave as it is']:,} as they are"] if n["leave as it is"] else []),
        *([f"{n['undecided']:,} are not decided yet"] if n["undecided"] else []),
    ]
    return f"{'; '.join(said)}. {_compose_gain(data)}".strip()


def _compose_gain(data: ReportData) -> str:
    found = data.tables.payoff
    if found.empty or math.isnan(found["advised_gain"].iloc[0]):
        return ""
    line = found.to_dict("records")[0]
    text = (
        f"Following this gains {format_signed(line['advised_gain'])} pp on test on average over "
        f"all {int(line['n']):,} pairs"
    )
    left = int((data.tables.verdicts["action"] == "leave as it is").sum())
    if left:
        text += ", 0 for those left as they are"
    net, low, high = (line[f"advised_net_{key}"] for key in ("gain", "low", "high"))
    if math.isnan(net):
        return f"{text}. What of it is because of the teachers is not known."
    text += f". {format_signed(net)} pp of it is because of the teachers"
    if math.isnan(low):
        return f"{text} (too few participants for an interval)."
    zero = ", includes 0" if includes_zero(low, high) else ""
    return f"{text} (95 % over participants: {format_points(low)} to {format_points(high)}{zero})."


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
