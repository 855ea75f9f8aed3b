"""Campaigns side by side: headline measures, joined maps, agreement, findings, what differs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, product
from typing import Any

import pandas as pd

from kdopt.analysis.agreement import CORRELATED, HEADLINES, ComparedCampaign, ComparisonTables
from kdopt.analysis.paper.claims import AGREEMENT_RULE, PatternAgreement, compare_patterns
from kdopt.analysis.tuning import OVERALL
from kdopt.analysis.verdicts import VERDICTS
from kdopt.report.blocks import Block, Grid, GridCell, Section, make_tables
from kdopt.report.columns import Column, Columns
from kdopt.report.format import explain_draws, format_frame, format_points, format_title
from kdopt.report.sections.joined_maps import make_joined_maps_section
from kdopt.shown import format_count

HEADLINE_TITLES = {
    "vanilla_gain": "Vanilla",
    "test_gain": "Tuned",
    "control_gain": "Control: no teacher",
    "net_gain": "Net gain: tuned minus control",
    "advised_gain": "Following the verdicts",
    "advised_net_gain": "Of it because of the teacher",
}
OTHER_IMAGES = (
    "Their participants have other images in {names}: there a number stands for another "
    "participant, so pairs agree only in what the partition gives to that number."
)


RANKED = {
    "temperature": "best T",
    "alpha": "best alpha",
    "effective_kd_weight": "KD weight",
    "test_gain": "test gain",
    "net_gain": "net gain",
}


def make_comparison_sections(tables: ComparisonTables) -> list[Section]:
    """All sections of a comparison, in order."""
    patterns = make_patterns_section(tables)
    return [
        make_summary_section(tables),
        make_joined_maps_section(tables),
        make_agreement_section(tables),
        *([patterns] if patterns else []),
        make_differences_section(tables),
    ]


def make_summary_section(tables: ComparisonTables) -> Section:
    """Each two campaigns in a few sentences, and the headline measures of all."""
    measures = Block(
        "Means",
        "Each number is that of the campaign's own report: a mean over its pairs, on test. Below "
        "it is the 95 % interval, where there is one, and the number of pairs.",
        grids=[make_headline_grid(tables)],
    )
    return Section(
        "short",
        "In short",
        "",
        [*make_couple_blocks(tables), measures],
        files={"headlines.csv": format_frame(tables.headlines)},
    )


def make_couple_blocks(tables: ComparisonTables) -> list[Block]:
    """What each two campaigns that share pairs have in common."""
    agreement = tables.agreement
    blocks = []
    for (first, second), lines in agreement.groupby(["first", "second"], sort=False):
        parts = lines[lines["partition"] != OVERALL]
        other = parts[~parts["same_images"].astype(bool)]["partition"]
        blocks.append(
            Block(
                f"{first} and {second}",
                describe_couple(lines.iloc[0]),
                missing=OTHER_IMAGES.format(names=", ".join(map(str, other))) if len(other) else "",
            )
        )
    return blocks


def describe_couple(line: pd.Series[Any]) -> str:
    """The agreement of two campaigns in sentences.

    Args:
        line: Of :attr:`kdopt.analysis.agreement.ComparisonTables.agreement`.
    """
    sentences = []
    if line["n"]:
        same = [
            f"{name} is the same in {line[f'same_{key}']:.0f} % (by chance in "
            f"{line[f'same_{key}_by_chance']:.0f} %)"
            for key, name in (("temperature", "the best T"), ("alpha", "the best alpha"))
        ]
        sentences.append(f"Of {format_count(line['n'], 'shared pair')} {' and '.join(same)}.")
        ranked = [
            f"{name} {format_points(line[f'{key}_correlation']) or 'none (too few, or all alike)'}"
            for key, name in (
                ("temperature", "best T"),
                ("alpha", "best alpha"),
                ("test_gain", "test gain"),
                ("net_gain", "net gain"),
            )
        ]
        sentences.append(f"Rank correlations within partitions: {', '.join(ranked)}.")
    if line["verdicts"]:
        sentences.append(
            f"The verdict is the same on {line['same_verdict']} of {line['verdicts']}."
        )
    return " ".join(sentences) or "No data yet: no shared pair has a result in both."


def make_headline_grid(tables: ComparisonTables) -> Grid:
    """Measures by partition and campaign."""
    table, labels = tables.headlines, [campaign.label for campaign in tables.campaigns]
    known = {
        (str(x["partition"]), str(x["campaign"]), str(x["measure"])): x
        for x in table.to_dict("records")
    }
    scopes = list(dict.fromkeys(map(str, table["partition"])))
    lines = [
        (
            HEADLINE_TITLES[measure],
            [
                _make_headline_cell(known.get((*place, measure)))
                for place in product(scopes, labels)
            ],
        )
        for measure in HEADLINES
    ]
    titles = ["All its partitions" if scope == OVERALL else format_title(scope) for scope in scopes]
    headings = [
        [(title, len(labels)) for title in titles],
        [(label, 1) for label in labels] * len(scopes),
    ]
    return Grid("Mean test gain (pp)", headings, lines)


def _make_headline_cell(line: Any) -> GridCell:
    if line is None or math.isnan(line["value"]):
        return GridCell("-")
    interval = ""
    if not math.isnan(line["low"]):
        interval = f"{format_points(line['low'])} to {format_points(line['high'])}, "
    return GridCell(format_points(line["value"]), f"{interval}n = {line['n']}")


def make_agreement_section(tables: ComparisonTables) -> Section:
    """Agreement of best settings, gains and verdicts, in numbers."""
    columns: Columns = [
        Column("first", "Campaign", str),
        Column("second", "and", str),
        "partition",
        Column("same_images", "Same images", lambda same: "yes" if same else "no"),
        Column("n", "Pairs in both", str),
        Column("same_temperature", "Same T (%)"),
        Column("same_temperature_by_chance", "by chance"),
        Column("same_alpha", "Same alpha (%)"),
        Column("same_alpha_by_chance", "by chance"),
        Column("same_point", "Both the same (%)"),
        Column("same_point_by_chance", "by chance"),
        *(Column(f"{key}_correlation", f"Rank correlation of {RANKED[key]}") for key in CORRELATED),
        Column("verdicts", "Verdicts in both", str),
        Column("same_verdict", "the same", str),
    ]
    note = (
        "Over the pairs that two campaigns share: the same partition, teacher and student numbers. "
        "By chance is what would be the same if the best settings of one campaign were dealt out "
        "anew among the pairs of each partition. Correlations are Spearman's within a partition; "
        "over all partitions, their mean. They have no intervals: pairs share students and "
        "teachers, and campaigns may share images."
    )
    blocks = [
        Block(
            "Best settings and gains",
            tables=make_tables("Agreement by partition", columns, tables.agreement),
        ),
        Block(
            "Verdicts",
            "Shared pairs by their verdict in one campaign and in the other; bold where it is the "
            "same.",
            grids=make_verdict_grids(tables),
            missing=""
            if len(tables.verdict_pairs)
            else "No data yet: no shared pair has verdicts.",
        ),
    ]
    files = {"agreement.csv": format_frame(tables.agreement)}
    return Section("agreement", "Agreement", note, blocks, files=files)


def make_verdict_grids(tables: ComparisonTables) -> list[Grid]:
    """A grid per two campaigns: how often each verdict of one meets each of the other."""
    table = tables.verdict_pairs
    actions = [action for action in VERDICTS if action != "undecided"]
    grids = []
    for first, second in combinations((c.label for c in tables.campaigns), 2):
        of_both = table[(table["first"] == first) & (table["second"] == second)]
        if of_both.empty:
            continue
        counts = of_both.set_index(["first_verdict", "second_verdict"])["n"]
        lines = [
            (
                f"{first}: {row}",
                [
                    GridCell(str(counts.get((row, column), 0)), marked=row == column)
                    for column in actions
                ],
            )
            for row in actions
        ]
        grids.append(Grid("Verdict", [[(f"{second}: {action}", 1) for action in actions]], lines))
    return grids


def make_differences_section(tables: ComparisonTables) -> Section:
    """The settings, versions and images that are not the same."""
    found = tables.differences
    columns: Columns = [
        Column("key", "Setting", str),
        *(Column(campaign.label, campaign.label, str) for campaign in tables.campaigns),
    ]
    block = Block(
        tables=make_tables(
            format_count(len(found), "setting differs", "settings differ"), columns, found
        ),
        missing=""
        if len(found)
        else "Nothing differs: settings, versions and images are the same.",
    )
    return Section(
        "differences",
        "What differs",
        "Settings as they were resolved, where the trials ran, and fingerprints of the images and "
        "of each partition's shares. An empty cell: the campaign has no such setting.",
        [block],
        files={"settings_differences.csv": format_frame(found)},
    )


def describe_comparison(campaigns: Sequence[ComparedCampaign]) -> str:
    """What a comparison is about, in a sentence or two."""
    draws = explain_draws(p.name for c in campaigns for p in c.tables.campaign.partitions)
    return (
        f"{format_count(len(campaigns), 'campaign')} side by side, in the pairs that they share. "
        f"{draws}"
    ).strip()


def make_patterns_section(tables: ComparisonTables) -> Section | None:
    """A block per two campaigns; none where no two share a way of partitioning."""
    found = [
        pattern
        for first, second in combinations(tables.campaigns, 2)
        if (pattern := compare_patterns(first, second)) is not None
    ]
    if not found:
        return None
    lines = pd.concat([pattern.lines for pattern in found], ignore_index=True)
    return Section(
        "patterns",
        "Do the findings agree?",
        f"The paper's C10 says so of CINIC-10 and CIFAR-10. {AGREEMENT_RULE}",
        [make_pattern_block(pattern) for pattern in found],
        short_title="Findings",
        files={"findings.csv": format_frame(lines)},
    )


def make_pattern_block(pattern: PatternAgreement) -> Block:
    """The verdict on two campaigns, and what it comes from."""
    lines = pattern.lines
    first, second = (str(lines[key].iloc[0]) for key in ("first", "second"))
    shown = lines.assign(**{side: _format_numbers(lines, side) for side in ("first", "second")})
    columns: Columns = [
        Column("contrast", "Contrast", str),
        Column("claimed", "Claimed", str),
        Column("first", first, str),
        Column("first_verdict", f"{first}: verdict", str),
        Column("second", second, str),
        Column("second_verdict", f"{second}: verdict", str),
        Column("same_side", "On one side of the claimed range", str),
        Column("agreement", "That they agree", str),
    ]
    return Block(
        pattern.statement,
        describe_pattern(pattern),
        tables=make_tables(
            f"{format_count(len(lines), 'contrast')} (95 % intervals)", columns, shown
        ),
    )


def describe_pattern(pattern: PatternAgreement) -> str:
    """The verdict in sentences."""
    known = pattern.lines[pattern.lines["agreement"] != "no data"]
    if known.empty:
        return "Verdict: no data. No contrast is measured in both campaigns."
    counts = [
        f"{n} {name}"
        for name in ("supported", "contradicted", "undecided")
        if (n := int((known["agreement"] == name).sum()))
    ]
    sides = int((known["same_side"] == "yes").sum())
    rest = len(pattern.lines) - len(known)
    missing = f" {rest} more have no data in one or in both." if rest else ""
    return (
        f"Verdict: {pattern.verdict}. Of {format_count(len(known), 'contrast')} measured in both: "
        f"{', '.join(counts)}; in {sides} both numbers lie inside the claimed range or both "
        f"outside, whatever chance may have done.{missing}"
    )


def _format_numbers(lines: pd.DataFrame, side: str) -> list[str]:
    return [
        _format_number(*(line[f"{side}_{key}"] for key in ("value", "low", "high", "n")))
        for line in lines.to_dict("records")
    ]


def _format_number(value: float, low: float, high: float, n: int) -> str:
    if n == 0:
        return "no data"
    interval = "" if math.isnan(low) else f" [{format_points(low)}, {format_points(high)}]"
    return f"{format_points(value)}{interval}, n = {n}"
