"""The page's sections on the method comparison: a figure, a table, or what to run for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from kdopt.analysis.compare import ALL_METHODS, BAND_PP
from kdopt.analysis.dynamics import learning_and_forgetting
from kdopt.analysis.evidence import Evidence
from kdopt.analysis.protocols import protocols
from kdopt.analysis.ratios import headline_ratios
from kdopt.analysis.teachers import accuracy_correlations, best_teacher_counts
from kdopt.analysis.transfer import transfer_summary
from kdopt.outcome import TrialRow
from kdopt.plan import Campaign
from kdopt.report import method_figures as figures
from kdopt.report.tables import points


class SortCell(NamedTuple):
    """One cell of a sortable table: the text people read and the value it sorts by."""

    text: str
    key: float | str


class Table(NamedTuple):
    """A sortable table under a heading that opens it."""

    title: str
    headings: list[str]
    lines: list[list[SortCell]]


class Block(NamedTuple):
    """One section of the comparison.

    Attributes:
        title: Its heading.
        note: What is shown, and how to read it.
        figure: Element id, empty for none.
        table: The numbers of the figure, or ``None``.
        missing: What is not there and what to run for it; empty when nothing is missing.
    """

    title: str
    note: str
    figure: str = ""
    table: Table | None = None
    missing: str = ""


class Heading(NamedTuple):
    """A column of a table: key in the frame, heading, and the text of a value."""

    key: str
    text: str
    show: Callable[[Any], str]


def method_blocks(
    evidence: Evidence, rows: Sequence[TrialRow]
) -> tuple[list[Block], dict[str, Any]]:
    """The sections in the order of the paper's figures, and their figures by element id."""
    campaign, gains = evidence.campaign, evidence.gains
    own = gains[gains["transfer_set"] == "student"]
    transfer = transfer_summary(gains, campaign)
    counts = best_teacher_counts(gains)
    dynamics = learning_and_forgetting(gains, campaign)
    compared = (gains["source"] == "compare").any()
    drawn: dict[str, Any] = {}
    if compared:
        drawn["methods-transfer"] = figures.transfer_figure(gains)
    if len(own):
        drawn["methods-cumulative"] = figures.cumulative_figure(gains)
        drawn["methods-teachers"] = figures.teachers_figure(counts, accuracy_correlations(counts))
        drawn["methods-partitions"] = figures.methods_figure(gains, transfer)
    if len(dynamics):
        drawn["methods-dynamics"] = figures.dynamics_figure(dynamics)

    def figure(name: str) -> str:
        return name if name in drawn else ""

    untuned = "" if compared else _missing(campaign, "compare")
    both = _missing_methods(own, campaign)
    blocks = [
        Block(
            "Transfer sets: gain against accuracy gap",
            "Fig. 2 of the paper: every point is a teacher-student pair under one method with "
            "fixed settings. Panels of a row share their axes. DML needs labels: on the unlabeled "
            "sets only its mutual terms are left, and it is not expected to work there.",
            figure("methods-transfer"),
            _transfer_table(transfer),
            untuned,
        ),
        Block(
            "Cumulative gain of the methods",
            "Fig. 3, columns 3 and 4, on the student's own data. The paper does not say whether "
            "its cumulative gain is a sum or a distribution: both are drawn. The table gives the "
            "gain of tuning over the best untuned method as a ratio, as the second version of the "
            "paper does, with pp beside it: where the denominator is near 0, the ratio means "
            "nothing.",
            figure("methods-cumulative"),
            _ratio_table(headline_ratios(gains, campaign)),
            both,
        ),
        Block(
            "Best teachers and accuracy",
            "Fig. 5: how often a participant is the teacher that gives a student its greatest "
            "test gain, against its own accuracy. Ties are split, so counts sum to the number of "
            "students.",
            figure("methods-teachers"),
            _count_table(counts),
            both,
        ),
        Block(
            "Methods across partitions",
            "Fig. 6, on the student's own data. Boxes: quartiles, whiskers at the 5th and 95th "
            "percentile of pairs. Markers: mean with its 95 % bootstrap interval over pairs.",
            figure("methods-partitions"),
            None,
            both,
        ),
        Block(
            "Learning and forgetting",
            "Fig. 7: means over pairs with 95 % bootstrap intervals, on the student's own data. "
            f"Teachers within {BAND_PP:g} pp of the student's accuracy are neither weak nor "
            "strong. Above the dotted line a method gains.",
            figure("methods-dynamics"),
            _dynamics_table(dynamics),
            both
            if len(dynamics) or not len(own)
            else "Accuracies before distillation are missing.",
        ),
        _protocol_block(rows, campaign),
        _noise_block(evidence),
    ]
    return blocks, drawn


def _missing(campaign: Campaign, stage: str) -> str:
    if stage not in campaign.stages:
        return f'No data: add "{stage}" to stages and run again.'
    return f'No data yet: no trial of stage "{stage}" is complete.'


def _missing_methods(own: pd.DataFrame, campaign: Campaign) -> str:
    """Which of the four methods have no pair on the student's data, and what to run for them."""
    absent = [m for m in ALL_METHODS if not (own["method"] == m).any()]
    if not absent:
        return ""
    names = ", ".join(figures.style_of(m).label for m in absent)
    stages = dict.fromkeys("tune" if m == "tuned" else "compare" for m in absent)
    missing = [s for s in stages if s not in campaign.stages]
    if missing:
        added = " and ".join(f'"{s}"' for s in missing)
        return f"No data for {names}: add {added} to stages and run again."
    return f"No data for {names}: not in compare.methods, not in the student's set, or not run yet."


def _protocol_block(rows: Sequence[TrialRow], campaign: Campaign) -> Block:
    table = protocols(rows, campaign)
    sampler = campaign.tune.sampler
    notes = {
        "grid": "What the sequential search (every alpha at T = 1, then every T at the best alpha) "
        "would have chosen is read from the complete grids, so it cost nothing to try.",
        "sequential": "The search was sequential, so only what it used is known; the grid was not "
        "run.",
    }
    note = notes.get(sampler, f"The sampler was {sampler}: only what it used is known.")
    headings = [
        Heading("partition", "Partition", _name),
        Heading("protocol", "Search", str),
        Heading("trials", "Trials per pair", _count),
        Heading("test_gain", "Mean test gain (pp)", points),
        Heading("low", "95 % from", points),
        Heading("high", "to", points),
        Heading("same_cell", "Same cell (%)", points),
        Heading("n", "Pairs", str),
    ]
    missing = ""
    if table.empty:
        missing = _missing(campaign, "tune")
        if "tune" in campaign.stages:
            missing = "No data yet: no pair's search is complete, or the grid has no T = 1."
    return Block(
        "Sequential search or full grid",
        note,
        table=_table("Trials used and gain reached", headings, table),
        missing=missing,
    )


def _noise_block(evidence: Evidence) -> Block:
    headings = [
        Heading("stage", "Stage", str),
        Heading("partition", "Partition", _name),
        Heading("sd", "Standard deviation (pp)", points),
        Heading("cells", "Cells", str),
        Heading("trials", "Trials", str),
    ]
    missing = ""
    if evidence.noise.empty:
        missing = (
            "Unknown: every cell ran once. Set replicates = 3 and run again."
            if evidence.campaign.replicates == 1
            else "No data yet: no cell has two complete replicates."
        )
    return Block(
        "Noise floor",
        "Standard deviation of the test gain over replicates of the same cell, pooled over cells: "
        "the noise of training alone. Differences of single pairs below it mean nothing.",
        table=_table("Noise floor", headings, evidence.noise),
        missing=missing,
    )


def _transfer_table(summary: pd.DataFrame) -> Table | None:
    headings = [
        Heading("partition", "Partition", _name),
        Heading("transfer_set", "Transfer set", _set),
        Heading("method", "Method", _method),
        Heading("n", "Pairs", str),
        Heading("positive_rate", "Positive transfers (%)", points),
        Heading("mean_positive", "Their mean gain (pp)", points),
        Heading("mean_negative", "Mean of the negative ones (pp)", points),
        Heading("mean_gain", "Mean gain (pp)", points),
        Heading("low", "95 % from", points),
        Heading("high", "to", points),
        Heading("cumulative_gain", "Sum of gains (pp)", points),
    ]
    return _table("Positive transfers and mean gains", headings, summary)


def _ratio_table(ratios: pd.DataFrame) -> Table | None:
    headings = [
        Heading("partition", "Partition", _name),
        Heading("tuned_gain", "Tuned (pp)", points),
        Heading("best_method", "Best untuned", _method),
        Heading("best_gain", "Its gain (pp)", points),
        Heading("difference", "Difference (pp)", points),
        Heading("low", "95 % from", points),
        Heading("high", "to", points),
        Heading("ratio", "Ratio (%)", points),
        Heading("ratio_low", "95 % from", points),
        Heading("ratio_high", "to", points),
        Heading("n", "Pairs", str),
    ]
    return _table("Tuned against the best untuned method", headings, ratios)


def _count_table(counts: pd.DataFrame) -> Table | None:
    headings = [
        Heading("partition", "Partition", _name),
        Heading("method", "Method", _method),
        Heading("participant", "Participant", str),
        Heading("accuracy", "Accuracy (%)", points),
        Heading("times_best", "Times best teacher", points),
        Heading("students", "Students", str),
    ]
    return _table("How often each participant is the best teacher", headings, counts)


def _dynamics_table(dynamics: pd.DataFrame) -> Table | None:
    measures = [
        Heading(f"{key}{end}", text, points)
        for key in ("learning", "forgetting")
        for end, text in (("", f"{key.capitalize()} (pp)"), ("_low", "95 % from"), ("_high", "to"))
    ]
    headings = [
        Heading("partition", "Partition", _name),
        Heading("teacher_kind", "Teachers", str),
        Heading("method", "Method", _method),
        Heading("n", "Pairs", str),
        *measures,
    ]
    return _table("Learning and forgetting", headings, dynamics)


def _table(title: str, headings: Sequence[Heading], frame: pd.DataFrame) -> Table | None:
    if frame.empty:
        return None
    lines = [[_cell(h, line) for h in headings] for line in frame.to_dict("records")]
    return Table(title, [h.text for h in headings], lines)


def _cell(heading: Heading, line: Mapping[Any, Any]) -> SortCell:
    value = line[heading.key]
    if isinstance(value, float):
        # An empty key sorts last, whichever way the column is sorted.
        return SortCell(heading.show(value), "" if math.isnan(value) else round(value, 9))
    return SortCell(heading.show(value), value if isinstance(value, int) else str(value))


def _name(name: object) -> str:
    return str(name).replace("_", " ").capitalize()


def _set(name: object) -> str:
    return figures.SETS.get(str(name), str(name))


def _method(name: object) -> str:
    return figures.style_of(str(name)).label


def _count(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
