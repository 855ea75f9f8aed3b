"""The page's first answer: how often tuning pays, how much, at what cost, and where it is best
not to distil at all.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import pandas as pd

from kdopt.analysis.method_gains import BAND_PP, TEACHER_KINDS
from kdopt.analysis.tuning import (
    EVERY_KIND,
    OVERALL,
    describe_vanilla,
    list_headline_measures,
    summarise_gains,
)
from kdopt.campaign.settings import Campaign
from kdopt.report.blocks import Grid, GridCell, Heading, Table, table_of, title_of
from kdopt.report.tables import points

KIND_TITLES = {
    EVERY_KIND: "All teachers",
    "weak": "Weaker teachers",
    "similar": "Similar teachers",
    "strong": "Stronger teachers",
}
MOSTLY = 50.0
"""Share (%) of advice against distilling beyond which a group is named."""


class Headline(NamedTuple):
    """One headline number: ``low`` and ``high`` bound its 95 % interval (empty: no interval)."""

    value: str
    low: str
    high: str
    n: int


class Tile(NamedTuple):
    """One number in large type, what it is, and what stands behind it."""

    value: str
    label: str
    detail: str


def tiles(
    found: pd.DataFrame, cost: pd.DataFrame, best: pd.DataFrame, campaign: Campaign
) -> list[Tile]:
    """The four numbers to know first; none before any pair has a result.

    Args:
        found: From :func:`kdopt.analysis.tuning.tabulate_payoff`.
        cost: From :func:`kdopt.analysis.progress.tabulate_costs`.
        best: The best-settings table.
        campaign: What was planned.
    """
    if found.empty:
        return []
    overall = found.iloc[0]
    n, compared = int(overall["n"]), int(overall["compared"])
    shown = []
    if compared:
        share = 100 * overall["beats_vanilla"] / compared
        shown += [
            Tile(
                f"{share:.0f} %",
                "of pairs gain by tuning",
                f"{overall['beats_vanilla']} of {compared} gain more on test than vanilla "
                f"({describe_vanilla(campaign)})",
            ),
            Tile(
                f"{signed(overall['tuning_effect'])} pp",
                "tuned minus vanilla",
                _interval(overall["effect_low"], overall["effect_high"], compared),
            ),
        ]
    shown += [
        Tile(
            f"{signed(overall['guarded_gain'])} pp",
            "test gain of following the advice",
            _interval(overall["guarded_low"], overall["guarded_high"], n),
        ),
        Tile(
            f"{overall['against_share']:.0f} %",
            "of pairs: better not to distil",
            f"in {overall['against']} of {n} nothing beats the untouched student on "
            f"{campaign.select_on}",
        ),
    ]
    tune = cost[cost["stage"] == "tune"]
    searched = int((best["trials_done"] > 0).sum())
    if len(tune) and searched:
        hours, trials = float(tune["hours"].iloc[0]), int(tune["trials"].iloc[0])
        shown.append(
            Tile(
                f"{trials / searched:.3g}",
                "trials per pair",
                f"{trials:,} over {searched} pairs: {duration(hours)} of training, "
                f"{duration(hours / searched)} per pair",
            )
        )
    return shown


def where_not(found: pd.DataFrame) -> str:
    """Where most pairs are advised against distilling, as a sentence."""
    groups = found[(found["partition"] != OVERALL) & (found["teacher_kind"] != EVERY_KIND)]
    if groups.empty:
        return ""
    bad = groups[groups["against_share"] > MOSTLY].sort_values("against_share", ascending=False)
    if bad.empty:
        return (
            "No combination of partition and kind of teacher is best left alone as a whole: in "
            "each, at least half of the pairs have a setting that helps."
        )
    named = [
        f"{title_of(line['partition'])} with {KIND_TITLES[str(line['teacher_kind'])].lower()} "
        f"({line['against']} of {line['n']} pairs)"
        for line in bad.to_dict("records")
    ]
    return f"Best left alone, as most pairs gain nothing by any setting: {', '.join(named)}."


def where_grid(found: pd.DataFrame) -> list[Grid]:
    """Partitions by kinds of teachers: pairs not to distil, and the gain of following advice."""
    if found.empty:
        return []
    known = {(str(x["partition"]), str(x["teacher_kind"])): x for x in found.to_dict("records")}
    kinds = [k for k in (*TEACHER_KINDS, EVERY_KIND) if any(kind == k for _, kind in known)]
    lines = []
    for partition in found["partition"].unique():
        cells = []
        for kind in kinds:
            line = known.get((str(partition), kind))
            if line is None:
                cells.append(GridCell("-"))
                continue
            text = f"{line['against']} of {line['n']}"
            gain = signed(line["guarded_gain"])
            if not math.isnan(line["guarded_low"]):
                gain += f" [{points(line['guarded_low'])}, {points(line['guarded_high'])}]"
            cells.append(GridCell(text, f"{gain} pp", line["against_share"] > MOSTLY))
        title = OVERALL.capitalize() if partition == OVERALL else title_of(partition)
        lines.append((title, cells))
    caption = (
        "Pairs advised not to distil (bold: most of them); below, the mean test gain of following "
        f"the advice with its 95 % interval. Weaker and stronger: by more than {BAND_PP:g} pp of "
        "accuracy than the student."
    )
    return [Grid("Partition", [[(KIND_TITLES[k], 1) for k in kinds]], lines, caption)]


def where_table(found: pd.DataFrame) -> list[Table]:
    """The same with all numbers, to sort and to download."""
    headings = [
        Heading("partition", "Partition", title_of),
        Heading("teacher_kind", "Teachers", lambda kind: KIND_TITLES[str(kind)]),
        Heading("n", "Pairs", str),
        Heading("against", "Not to distil", str),
        Heading("against_share", "Share (%)"),
        Heading("guarded_gain", "Mean test gain by the advice (pp)"),
        Heading("guarded_low", "95 % from"),
        Heading("guarded_high", "to"),
        Heading("compared", "Pairs with vanilla", str),
        Heading("beats_vanilla", "Tuning gains more", str),
        Heading("tuning_effect", "Mean tuned minus vanilla (pp)"),
        Heading("effect_low", "95 % from"),
        Heading("effect_high", "to"),
    ]
    return table_of("Where tuning pays, and where not to distil", headings, found)


def headlines(best: pd.DataFrame, campaign: Campaign) -> dict[str, list[Headline]]:
    """The summary as text, by scope (first all partitions), in the order of the measures."""
    table: dict[str, list[Headline]] = {}
    for line in summarise_gains(best, campaign).to_dict("records"):
        decimals = 2 if line["unit"] == "pp" else 0
        value, low, high = (_number(line[key], decimals) for key in ("value", "low", "high"))
        scope = str(line["partition"])
        scope = scope.capitalize() if scope == OVERALL else title_of(scope)
        table.setdefault(scope, []).append(Headline(value, low, high, int(line["n"])))
    return table


def headline_headings(campaign: Campaign) -> list[str]:
    """The measures with their units."""
    return [f"{m.label} ({m.unit})" for m in list_headline_measures(campaign)]


def signed(value: float) -> str:
    """Percentage points with their sign, 2 decimals, never ``-0.00``."""
    return f"{round(value, 2) + 0.0:+.2f}"


def duration(hours: float) -> str:
    """A time as people say it."""
    seconds = 3600 * hours
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 6000 else f"{hours:,.3g} h"


def _interval(low: float, high: float, n: int) -> str:
    if math.isnan(low):
        return "one pair, so no interval"
    return f"95 % interval {points(low)} to {points(high)}, over {n} pairs"


def _number(value: float, decimals: int) -> str:
    return "" if math.isnan(value) else f"{round(value, decimals) + 0.0:.{decimals}f}"
