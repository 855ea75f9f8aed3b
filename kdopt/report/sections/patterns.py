"""C10 and its like: whether campaigns agree in what tuning finds."""

from __future__ import annotations

import math
from itertools import combinations

import pandas as pd

from kdopt.analysis.agreement import ComparisonTables
from kdopt.analysis.paper.claims import AGREEMENT_RULE, PatternAgreement, compare_patterns
from kdopt.report.blocks import Block, Section, make_tables
from kdopt.report.columns import Column, Columns
from kdopt.report.format import format_frame, format_points


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
        tables=make_tables(f"{len(lines)} contrasts (95 % intervals)", columns, shown),
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
        f"Verdict: {pattern.verdict}. Of {len(known)} contrasts measured in both: "
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
