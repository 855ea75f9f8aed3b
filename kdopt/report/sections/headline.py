"""In short: the answer, how often tuning pays, how much, at what cost, and where not to distil."""

from __future__ import annotations

import math
from typing import NamedTuple

import pandas as pd

from kdopt.analysis.method_gains import STRONGER, TEACHER_GROUPS, WEAK
from kdopt.analysis.stats import LEAST_UNITS
from kdopt.analysis.tuning import (
    EVERY_KIND,
    OVERALL,
    describe_selection,
    describe_vanilla,
    list_headline_measures,
)
from kdopt.analysis.verdicts import VERDICTS
from kdopt.campaign.names import pair_label
from kdopt.campaign.settings import Campaign
from kdopt.report.blocks import Block, Grid, GridCell, ReportData, Section, Table, make_tables
from kdopt.report.columns import Column, Columns, IntervalColumn
from kdopt.report.format import (
    format_hours,
    format_points,
    format_signed,
    format_title,
    format_transfer_set,
    includes_zero,
    title_partitions,
)
from kdopt.report.verdict_text import describe_unlabeled
from kdopt.shown import format_count

KIND_TITLES = {
    EVERY_KIND: "All teachers",
    "weak": "Weak teachers",
    "stronger": "Stronger teachers",
    "much weaker": "Much weaker teachers",
    "similar": "Similar teachers",
    "strong": "Strong teachers",
}

MOSTLY = 50.0
"""Share (%) of advice against distilling beyond which a group is named."""


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
    left = format_count(n["leave as it is"], "as it is", "as they are")
    undecided = format_count(n["undecided"], "is not decided yet", "are not decided yet")
    unlabeled = describe_unlabeled(table)
    said = [
        f"Distil {n['distil'] or 'none'} of the {format_count(len(table), 'pair')}{where}",
        *([f"train {n['train on']:,} on without a teacher"] if n["train on"] else []),
        *([f"leave {left}"] if n["leave as it is"] else []),
        *([undecided] if n["undecided"] else []),
    ]
    return " ".join([f"{'; '.join(said)}.", *filter(None, [_compose_gain(data), unlabeled])])


def _compose_gain(data: ReportData) -> str:
    found = data.tables.payoff
    if found.empty or math.isnan(found["advised_gain"].iloc[0]):
        return ""
    line = found.to_dict("records")[0]
    text = (
        f"Following this gains {format_signed(line['advised_gain'])} pp on test on average over "
        f"all {format_count(int(line['n']), 'pair')}"
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
        f"distilling pays in {len(pays):,} of {format_count(len(decided), 'pair')}: "
        f"{format_signed(float(gains.mean()))} pp {what}"
    )
    rest = _describe_whole_gains(decided) if gains.name == "net_gain" else ""
    lines = [line for line in pays.to_dict("records") if math.isfinite(line[gains.name])]
    if not lines:
        return text + rest
    best = max(lines, key=lambda line: float(line[gains.name]))
    pair = f"{best['partition']}/{pair_label(int(best['teacher']), int(best['student']))}"
    who = data.campaign.describe_pair(int(best["teacher"]), int(best["student"]))
    named = f"{pair}, {who}" if who else pair
    return f"{text}; best {format_signed(best[gains.name])} pp ({named}){rest}"


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


class HeadlineNumber(NamedTuple):
    """One headline number as text.

    Attributes:
        value: The number.
        low: Lower end of its 95 % interval over participants; empty without one.
        high: Upper end.
        n: Pairs.
        image_error: Half the width of its 95 % interval over test images; empty if unknown.
    """

    value: str
    low: str
    high: str
    n: int
    image_error: str = ""


class Tile(NamedTuple):
    """One number in large type, what it is, and what stands behind it."""

    value: str
    label: str
    detail: str


def make_headline_section(data: ReportData) -> Section:
    """The section with the answer, or what to run to get one."""
    tables = data.tables
    values = {
        "missing": sum(stage.missing for stage in tables.progress),
        "failed": sum(stage.failed for stage in tables.progress),
        "answer": compose_answer(data),
        "tiles": make_tiles(data),
        "where_not": describe_where_not(tables.payoff),
        "where_grids": make_where_grids(tables.payoff, data.campaign.compare.strong_margin),
        "where_tables": make_where_tables(tables.payoff),
        "has_pairs": data.has_pairs,
        "has_tuning": data.has_tuning,
        "headings": list_headline_headings(data.campaign),
        "averages": tabulate_headlines(tables.gain_summary) if data.has_tuning else {},
    }
    return Section("short", "In short", "", [Block(template="headline.html.j2", values=values)])


def make_tiles(data: ReportData) -> list[Tile]:
    """The numbers to know first; none before any pair has a result."""
    found, cost, campaign = data.tables.payoff, data.tables.costs, data.campaign
    if found.empty:
        return []
    overall = found.iloc[0]
    n, compared, decided = (int(overall[key]) for key in ("n", "compared", "decided"))
    shown = []
    if decided:
        shown = [
            Tile(
                f"{decided - overall['against']} of {decided}",
                "pairs are worth distilling",
                f"in the other {overall['against']} distilling is not measurably better, on "
                "validation, than leaving the student as it is or training it on"
                + describe_unconfirmed(data.tables.verdicts),
            ),
            Tile(
                f"{format_signed(overall['advised_gain'])} pp",
                "test gain of following the verdicts, mean of all pairs",
                _describe_interval(overall["advised_low"], overall["advised_high"], n)
                + describe_left_alone(data.tables.verdicts),
            ),
            Tile(
                f"{format_signed(overall['advised_net_gain']) or '?'} pp",
                "of that because of the teacher",
                _describe_interval(overall["advised_net_low"], overall["advised_net_high"], n)
                + _describe_whole_gains(data.tables.verdicts)
                if data.tables.results.controlled
                else "not known: the control did not run",
            ),
        ]
    if compared:
        shown.append(
            Tile(
                f"{format_signed(overall['tuning_effect'])} pp",
                "tuned KD minus vanilla KD on test, whatever the verdicts",
                _describe_interval(overall["effect_low"], overall["effect_high"], compared)
                + ", those not to distil too, on the student's own data; tuned is each pair's "
                f"temperature and alpha, {describe_selection(campaign)}; vanilla is "
                f"{describe_vanilla(campaign)}",
            )
        )
    tune = cost[cost["stage"] == "tune"]
    searched = int((data.best_settings["trials_done"] > 0).sum())
    if len(tune) and searched:
        hours, trials = float(tune["hours"].iloc[0]), int(tune["trials"].iloc[0])
        shown.append(
            Tile(
                f"{trials / searched:.3g}",
                "trials per pair",
                f"{trials:,} over {format_count(searched, 'pair')}: {format_hours(hours)} of "
                f"training, {format_hours(hours / searched)} per pair",
            )
        )
    return shown


def _describe_whole_gains(verdicts: pd.DataFrame) -> str:
    said = describe_unlabeled(verdicts)
    return f". {said.removesuffix('.')}" if said else ""


def describe_left_alone(verdicts: pd.DataFrame) -> str:
    """How pairs that are left alone enter a mean over all, to add to a sentence."""
    left = int((verdicts["action"] == "leave as it is").sum())
    if not left:
        return ""
    return f", {left:,} of them left as they are with a gain of 0"


def describe_unconfirmed(verdicts: pd.DataFrame) -> str:
    """How many of the pairs to distil test does not confirm, to add to a sentence."""
    taught = verdicts[verdicts["action"] == "distil"]
    n = sum(map(includes_zero, taught["net_low"], taught["net_high"]))
    if not n:
        return ""
    return f"; in {n:,} of the {len(taught):,} test does not confirm what the teacher adds"


def describe_where_not(found: pd.DataFrame) -> str:
    """The groups in which most pairs should not be distilled, as a sentence."""
    # By the sign of the gap: the other groups overlap with these.
    by_sign = found["teacher_kind"].isin([WEAK, STRONGER])
    groups = found[(found["partition"] != OVERALL) & by_sign]
    if groups.empty:
        return ""
    bad = groups[groups["against_share"] > MOSTLY].sort_values("against_share", ascending=False)
    if bad.empty:
        return (
            "There is no group of pairs to leave alone: for each partition and kind of teacher, "
            "distilling is measurably better in at least half of the pairs."
        )
    named = [
        f"{format_title(line['partition'])} with {KIND_TITLES[str(line['teacher_kind'])].lower()} "
        f"({line['against']} of {format_count(line['decided'], 'pair')})"
        for line in bad.to_dict("records")
    ]
    return (
        "Do not distil here, as in most pairs no teacher is measurably better than none: "
        f"{', '.join(named)}."
    )


def make_where_grids(found: pd.DataFrame, strong_margin: float) -> list[Grid]:
    """Partitions by groups of teachers: pairs not to distil, and the gain of following advice."""
    if found.empty:
        return []
    known = {(str(x["partition"]), str(x["teacher_kind"])): x for x in found.to_dict("records")}
    kinds = [k for k in (*TEACHER_GROUPS, EVERY_KIND) if any(kind == k for _, kind in known)]
    lines = []
    for partition in found["partition"].unique():
        cells = []
        for kind in kinds:
            line = known.get((str(partition), kind))
            if line is None:
                cells.append(GridCell("-"))
                continue
            text = f"{line['against']} of {line['decided']}"
            gain = format_signed(line["advised_gain"])
            if not math.isnan(line["advised_low"]):
                low, high = map(format_points, (line["advised_low"], line["advised_high"]))
                gain += f" [{low}, {high}]"
            cells.append(GridCell(text, f"{gain} pp", line["against_share"] > MOSTLY))
        title = OVERALL.capitalize() if partition == OVERALL else format_title(partition)
        lines.append((title, cells))
    caption = (
        "Pairs not to distil (bold: most of them). Below: the mean test gain of following the "
        "verdicts on all these pairs, with its 95 % interval over participants; one that is left "
        "alone counts as 0. Weak and stronger: any accuracy below or above the student's; much "
        "weaker and strong (the paper's word for notably higher): by more than "
        f"{strong_margin:g} pp, compare.strong_margin; similar: neither."
    )
    return [Grid("Partition", [[(KIND_TITLES[k], 1) for k in kinds]], lines, caption)]


def make_where_tables(found: pd.DataFrame) -> list[Table]:
    """The same with all numbers, to sort and to download."""
    columns: Columns = [
        "partition",
        Column("teacher_kind", "Teachers", lambda kind: KIND_TITLES[str(kind)]),
        *("n", "against", "against_share"),
        IntervalColumn(Column("advised_gain", "Mean test gain by the verdicts (pp)"), "advised_"),
        IntervalColumn(Column("advised_net_gain", "Because of the teacher (pp)"), "advised_net_"),
        *("compared", "beats_vanilla"),
        IntervalColumn("tuning_effect", "effect_"),
    ]
    return make_tables("Where tuning pays, and where not to distil", columns, found)


def tabulate_headlines(summary: pd.DataFrame) -> dict[str, list[HeadlineNumber]]:
    """The summary as text, by scope (first all partitions), in the order of the measures."""
    table: dict[str, list[HeadlineNumber]] = {}
    for line in summary.to_dict("records"):
        decimals = 2 if line["unit"] == "pp" else 0
        value, low, high = (_format_number(line[key], decimals) for key in ("value", "low", "high"))
        scope = str(line["partition"])
        scope = scope.capitalize() if scope == OVERALL else format_title(scope)
        table.setdefault(scope, []).append(
            HeadlineNumber(
                value, low, high, int(line["n"]), _format_number(line["image_error"], decimals)
            )
        )
    return table


def list_headline_headings(campaign: Campaign) -> list[str]:
    """The measures with their units."""
    return [f"{m.label} ({m.unit})" for m in list_headline_measures(campaign)]


def _describe_interval(low: float, high: float, n: int) -> str:
    if math.isnan(low):
        return f"no interval: fewer than {LEAST_UNITS} independent participants"
    zero = "; includes 0: not established" if includes_zero(low, high) else ""
    return (
        f"95 % interval over participants: {format_points(low)} to {format_points(high)}{zero}; "
        f"mean of {format_count(n, 'pair')}"
    )


def _format_number(value: float, decimals: int) -> str:
    return "" if math.isnan(value) else f"{round(value, decimals) + 0.0:.{decimals}f}"
