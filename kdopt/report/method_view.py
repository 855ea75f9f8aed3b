"""The page's sections on the method comparison: a figure, a table, or what to run for them."""

from __future__ import annotations

import pandas as pd

from kdopt.analysis.method_gains import ALL_METHODS, BAND_PP
from kdopt.analysis.tables import Tables
from kdopt.analysis.tuning import describe_selection
from kdopt.campaign.settings import Campaign
from kdopt.report import method_figures as figures
from kdopt.report.blocks import (
    Block,
    Drawn,
    Heading,
    Part,
    Table,
    missing_stage,
    set_title,
    table_of,
    title_of,
)

POINT_COLUMNS = [
    "partition",
    "transfer_set",
    "method",
    "teacher",
    "student",
    "accuracy_gap",
    "test_gain",
]

BOX_HEADINGS = [
    Heading("partition", "Partition", title_of),
    Heading("method", "Method", lambda method: figures.style_of(str(method)).label),
    Heading("n", "Pairs", str),
    Heading("p05", "5th percentile (pp)"),
    Heading("q1", "Quartile (pp)"),
    Heading("median", "Median (pp)"),
    Heading("q3", "Quartile (pp)"),
    Heading("p95", "95th percentile (pp)"),
    Heading("mean_gain", "Mean (pp)"),
    Heading("low", "95 % from"),
    Heading("high", "to"),
]


def methods_part(evidence: Tables, *, paired: bool) -> Part:
    """The section on methods; where there are no pairs, what it would take to have some."""
    title = "Methods compared"
    if not paired:
        note = 'No pairs of teacher and student: neither "tune" nor "compare" is among the stages.'
        return Part("methods", title, note, [])
    blocks, drawn = method_blocks(evidence)
    note = (
        "Vanilla, DML and DP-KD have fixed settings. Tuned is each pair's cell "
        f"{describe_selection(evidence.campaign)}, on the student's own data."
    )
    return Part("methods", title, note, blocks, drawn)


def method_blocks(evidence: Tables) -> tuple[list[Block], dict[str, Drawn]]:
    """The sections in the order of the paper's figures, and their figures by element id."""
    campaign, gains = evidence.campaign, evidence.method_gains
    own = gains[gains["transfer_set"] == "student"]
    transfer, dynamics = evidence.transfers, evidence.learning
    counts, correlations = evidence.teacher_counts, evidence.teacher_correlations
    compared = (gains["source"] == "compare").any()
    drawn: dict[str, Drawn] = {}
    if compared:
        drawn["methods-transfer"] = Drawn(
            "fig2-transfer-sets",
            figures.transfer_figure(gains),
            gains.loc[gains["method"] != "tuned", POINT_COLUMNS],
        )
    if len(own):
        boxes = figures.box_table(own, transfer)
        drawn["methods-cumulative"] = Drawn(
            "fig3-cumulative-gain", figures.cumulative_figure(gains), own[POINT_COLUMNS]
        )
        drawn["methods-teachers"] = Drawn(
            "fig5-best-teachers",
            figures.teachers_figure(counts, correlations),
            counts.merge(correlations[["partition", "method", "correlation"]], how="left"),
        )
        drawn["methods-partitions"] = Drawn("fig6-methods", figures.methods_figure(boxes), boxes)
    if len(dynamics):
        drawn["methods-dynamics"] = Drawn(
            "fig7-learning-forgetting", figures.dynamics_figure(dynamics), dynamics
        )

    def figure(name: str) -> str:
        return name if name in drawn else ""

    untuned = "" if compared else missing_stage(campaign, "compare")
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
            _ratio_table(evidence.tuning_ratios),
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
            table_of("Spread and mean of every method", BOX_HEADINGS, boxes) if len(own) else [],
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
        _protocol_block(evidence.protocols, campaign),
        noise_block(evidence),
    ]
    return blocks, drawn


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


def _protocol_block(table: pd.DataFrame, campaign: Campaign) -> Block:
    sampler = campaign.tune.sampler
    notes = {
        "grid": "What the sequential search (every alpha at T = 1, then every T at the best alpha) "
        "would have chosen is read from the complete grids, so it cost nothing to try.",
        "sequential": "The search was sequential, so only what it used is known; the grid was not "
        "run.",
    }
    note = notes.get(sampler, f"The sampler was {sampler}: only what it used is known.")
    headings = [
        Heading("partition", "Partition", title_of),
        Heading("protocol", "Search", str),
        Heading("trials", "Trials per pair", _count),
        Heading("test_gain", "Mean test gain (pp)"),
        Heading("low", "95 % from"),
        Heading("high", "to"),
        Heading("same_cell", "Same cell (%)"),
        Heading("n", "Pairs", str),
    ]
    missing = ""
    if table.empty:
        missing = missing_stage(campaign, "tune")
        if "tune" in campaign.stages:
            missing = "No data yet: no pair's search is complete, or the grid has no T = 1."
    return Block(
        "Sequential search or full grid",
        note,
        tables=table_of("Trials used and gain reached", headings, table),
        missing=missing,
    )


def noise_block(evidence: Tables) -> Block:
    """How much results vary between replicates of the same cell, in pp."""
    headings = [
        Heading("stage", "Stage", str),
        Heading("partition", "Partition", title_of),
        Heading("sd", "Standard deviation (pp)"),
        Heading("cells", "Cells", str),
        Heading("trials", "Trials", str),
    ]
    missing = ""
    if evidence.noise.empty:
        missing = (
            "Unknown: every cell ran once. Set replicates = 3 and run again."
            if evidence.campaign.replicates == 1
            else "No data: no cell has two complete replicates. (Federated runs are not counted: "
            "their replicates differ in their initial models.)"
        )
    return Block(
        "Noise floor",
        "Standard deviation of the test gain over replicates of the same cell, pooled over cells: "
        "the noise of training alone. Differences of single pairs below it mean nothing.",
        tables=table_of("Noise floor", headings, evidence.noise),
        missing=missing,
    )


def _transfer_table(summary: pd.DataFrame) -> list[Table]:
    headings = [
        Heading("partition", "Partition", title_of),
        Heading("transfer_set", "Transfer set", set_title),
        Heading("method", "Method", _method),
        Heading("n", "Pairs", str),
        Heading("positive_rate", "Positive transfers (%)"),
        Heading("rate_low", "95 % from"),
        Heading("rate_high", "to"),
        Heading("mean_positive", "Their mean gain (pp)"),
        Heading("positive_low", "95 % from"),
        Heading("positive_high", "to"),
        Heading("mean_negative", "Mean of the negative ones (pp)"),
        Heading("negative_low", "95 % from"),
        Heading("negative_high", "to"),
        Heading("mean_gain", "Mean gain (pp)"),
        Heading("low", "95 % from"),
        Heading("high", "to"),
        Heading("cumulative_gain", "Sum of gains (pp)"),
    ]
    return table_of("Positive transfers and mean gains", headings, summary)


def _ratio_table(ratios: pd.DataFrame) -> list[Table]:
    headings = [
        Heading("partition", "Partition", title_of),
        Heading("tuned_gain", "Tuned (pp)"),
        Heading("best_method", "Best untuned", _method),
        Heading("best_gain", "Its gain (pp)"),
        Heading("difference", "Difference (pp)"),
        Heading("low", "95 % from"),
        Heading("high", "to"),
        Heading("ratio", "Ratio (%)"),
        Heading("ratio_low", "95 % from"),
        Heading("ratio_high", "to"),
        Heading("n", "Pairs", str),
    ]
    return table_of("Tuned against the best untuned method", headings, ratios)


def _count_table(counts: pd.DataFrame) -> list[Table]:
    headings = [
        Heading("partition", "Partition", title_of),
        Heading("method", "Method", _method),
        Heading("participant", "Participant", str),
        Heading("accuracy", "Accuracy (%)"),
        Heading("times_best", "Times best teacher"),
        Heading("students", "Students", str),
    ]
    return table_of("How often each participant is the best teacher", headings, counts)


def _dynamics_table(dynamics: pd.DataFrame) -> list[Table]:
    measures = [
        Heading(f"{key}{end}", text)
        for key in ("learning", "forgetting")
        for end, text in (("", f"{key.capitalize()} (pp)"), ("_low", "95 % from"), ("_high", "to"))
    ]
    headings = [
        Heading("partition", "Partition", title_of),
        Heading("teacher_kind", "Teachers", str),
        Heading("method", "Method", _method),
        Heading("n", "Pairs", str),
        *measures,
    ]
    return table_of("Learning and forgetting", headings, dynamics)


def _method(name: object) -> str:
    return figures.style_of(str(name)).label


def _count(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
