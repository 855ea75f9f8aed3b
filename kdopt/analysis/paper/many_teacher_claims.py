"""Claims C13 and C14 (paper, section V): many teachers in one model, and FedAvg from there."""

from __future__ import annotations

import math

import pandas as pd

from kdopt.analysis.combining import EQUAL
from kdopt.analysis.federated import PAPER_ROUND_REDUCTION
from kdopt.analysis.paper.judging import (
    COMPARABLE_PP,
    LARGE_SET,
    Claim,
    Contrast,
    build_claim,
    contrast_independent,
    select_families,
)
from kdopt.analysis.stats import compute_mean
from kdopt.analysis.tables import Tables
from kdopt.campaign.stage_settings import STARTS, TRANSFER_SETS
from kdopt.shown import format_count

ABOVE = (0.0, math.inf)
BELOW = (-math.inf, 0.0)
WEIGHTING_RANGES = {
    "uniform": BELOW,
    "quantity_skew": ABOVE,
    "specialized": BELOW,
    "label_dirichlet": ABOVE,
}
"""Where adaptive weights help and where they hurt; on Random Chunks the paper's are mixed."""

ALONE_IS_NOT_ENOUGH = ("specialized", "label_dirichlet")


def judge_start_and_weights(tables: Tables) -> Claim:
    """C13: differences of test accuracy between cells of Table II, each a mean over replicates.

    Starts are compared on public sets only, where the start is all that differs; on the student's
    data worst and best differ in their data too. Cells of a partition share its models, so
    differences between starts and sets are averaged within partitions, which are the units; the
    effect of the weights in one partition has its cells as units.
    """
    weighting = find_adaptive_weighting(tables)
    name = weighting or "adaptive weights"
    cells = tables.combined[tables.combined["weighting"].isin([EQUAL, weighting])]
    contrasts = [
        *_contrast_starts(cells),
        *(
            contrast_independent(
                f"{family}: {name} - {EQUAL}, over cells of Table II",
                _select_effects(tables, family, weighting),
                *bounds,
            )
            for family, bounds in WEIGHTING_RANGES.items()
        ),
    ]
    return build_claim(
        tables.campaign,
        13,
        "Starting from the best student beats the worst and the untrained one; adaptive weights "
        "help on Dirichlet and Quantity Skew and hurt on Uniform and Specialized; the best "
        "student's data serve as well as a public set, and far better than the worst student's "
        "data.",
        contrasts,
        remark=" ".join(
            filter(
                None,
                (
                    f"No worse means by less than {COMPARABLE_PP:g} pp.",
                    _describe_formulas(tables, weighting),
                ),
            )
        )
        if len(cells)
        else "",
        compared=False,
        stages=("combine",),
        partitions=tuple(WEIGHTING_RANGES),
        transfer_sets=(LARGE_SET, "student"),
    )


def _contrast_starts(cells: pd.DataFrame) -> list[Contrast]:
    """Starts and transfer sets against each other, each a mean per partition."""
    starts = _pivot_accuracies(cells, "start", STARTS)
    # On the student's own data a better start also has better data: judged apart.
    own = starts.index.get_level_values("transfer_set") == "student"
    public = starts[~own]
    sets = _pivot_accuracies(cells[cells["start"] == "best"], "transfer_set", TRANSFER_SETS)
    return [
        contrast_independent(f"{label}, mean per partition", _average_partitions(values), lower)
        for label, values, lower in (
            ("public sets: best - worst start", public["best"] - public["worst"], 0.0),
            ("public sets: best - untrained start", public["best"] - public["untrained"], 0.0),
            (
                f"best start: its own data - {LARGE_SET}, no worse",
                sets["student"] - sets[LARGE_SET],
                -COMPARABLE_PP,
            ),
            (
                "student's data: best - worst",
                starts.loc[own, "best"] - starts.loc[own, "worst"],
                0.0,
            ),
        )
    ]


def judge_consolidated_start(tables: Tables) -> Claim:
    """C14: mean reduction of rounds per partition, and KD alone against FedAvg class by class."""
    targets = tables.rounds_to_target[tables.rounds_to_target["kind"] == "relative"]
    per_partition = [
        compute_mean(group["reduction"]) for _, group in targets.groupby("partition", sort=False)
    ]
    contrasts = [
        contrast_independent(
            "rounds saved on the way to the relative targets, mean per partition",
            per_partition,
            unit="%",
        ),
        *(_contrast_classes(tables, family) for family in ALONE_IS_NOT_ENOUGH),
    ]
    return build_claim(
        tables.campaign,
        14,
        "Starting federated averaging from a consolidated model cuts the rounds to reach a target "
        "accuracy; consolidation alone is not enough on Specialized and Dirichlet.",
        contrasts,
        remark=_describe_reductions(tables),
        compared=False,
        stages=("federate",),
        partitions=ALONE_IS_NOT_ENOUGH,
    )


def find_adaptive_weighting(tables: Tables) -> str | None:
    """The adaptive formula that claims are judged by; ``None`` if the campaign has none.

    That of federated averaging, if the campaign has that stage and combines so too, else the
    first that the campaign lists.
    """
    campaign = tables.campaign
    chosen = campaign.federate.weighting if "federate" in campaign.stages else EQUAL
    if chosen != EQUAL and (tables.combined["weighting"] == chosen).any():
        return chosen
    return next((name for name in campaign.combine.weightings if name != EQUAL), None)


def _pivot_accuracies(cells: pd.DataFrame, key: str, names: tuple[str, ...]) -> pd.DataFrame:
    """Test accuracy (percent), a column per value of ``key`` and a line per rest of the cell."""
    rest = [k for k in ("partition", "transfer_set", "start", "weighting") if k != key]
    table = cells.pivot(index=rest, columns=key, values="accuracy")
    return table.reindex(columns=list(names)).astype(float)


def _average_partitions(values: pd.Series[float]) -> list[float]:
    return list(values.groupby(level="partition", sort=False).mean())


def _select_effects(tables: Tables, family: str, weighting: str | None) -> pd.Series[float]:
    table = select_families(tables.weighting_effects, tables.campaign, family)
    return table.loc[table["weighting"] == weighting].dropna(subset=["paper_effect"])["effect"]


def _describe_formulas(tables: Tables, weighting: str | None) -> str:
    found = tables.weighting_agreement
    found = found[found["cells"] > 0]
    if weighting is None or found.empty:
        return ""
    listed = ", ".join(
        f"{line['weighting']} {line['same_sign']} of {line['cells']}"
        + ("" if math.isnan(rank := line["correlation"]) else f" (rank correlation {rank:.2f})")
        for line in found.to_dict("records")
    )
    return (
        f"Adaptive weights are judged by the formula {weighting}. Cells in which each formula "
        f"changes the accuracy in the direction of Table II: {listed}; always the same direction "
        f"would score {found['constant'].max()}. Single cells are noisy."
    )


def _contrast_classes(tables: Tables, family: str) -> Contrast:
    table = select_families(tables.class_levels, tables.campaign, family)
    by_class = (table["random_final"] - table["kd_alone"]).astype(float).groupby(table["class"])
    label = f"{family}: FedAvg from random weights - KD alone, over classes"
    return contrast_independent(label, by_class.mean())


def _describe_reductions(tables: Tables) -> str:
    table = tables.reductions
    line = table[(table["kind"] == "relative") & table["target"].isna()]
    if line.empty:
        return ""
    here = line.iloc[0]
    total = sum(int(here[key]) for key in ("exact", "at_least", "at_most", "unknown"))
    return (
        f"Mean over partitions {here['reduction']:.1f} %, the paper's {PAPER_ROUND_REDUCTION:g} "
        f"%; with consolidation's own traffic counted, {here['megabytes_reduction']:.1f} % fewer "
        f"bytes. Of {format_count(total, 'reduction')}, {here['at_least']} are at least and "
        f"{here['at_most']} at most what was counted (a run never reached the target), and "
        f"{here['unknown']} unknown."
    )
