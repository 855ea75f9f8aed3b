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
    contrast_means,
)
from kdopt.analysis.stats import compute_mean
from kdopt.analysis.tables import Tables
from kdopt.campaign.stage_settings import STARTS, TRANSFER_SETS

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
    data worst and best differ in their data too. For the effect of the weights, cells and
    replicates are observations.
    """
    weighting = find_adaptive_weighting(tables)
    name = weighting or "adaptive weights"
    cells = tables.combined[tables.combined["weighting"].isin([EQUAL, weighting])]
    starts = _pivot_accuracies(cells, "start", STARTS)
    # On the student's own data a better start also has better data: judged apart.
    own = starts.index.get_level_values("transfer_set") == "student"
    public = starts[~own]
    sets = _pivot_accuracies(cells[cells["start"] == "best"], "transfer_set", TRANSFER_SETS)
    where = f"cells of {EQUAL} and {name}"
    contrasts = [
        contrast_means(label, values, tables.campaign, lower, upper)
        for label, values, (lower, upper) in (
            (f"public sets: best - worst start, {where}", public["best"] - public["worst"], ABOVE),
            (
                f"public sets: best - untrained start, {where}",
                public["best"] - public["untrained"],
                ABOVE,
            ),
            *(
                (
                    f"{partition}: {name} - {EQUAL}, cells of Table II by replicate",
                    _select_effects(tables, partition, weighting),
                    bounds,
                )
                for partition, bounds in WEIGHTING_RANGES.items()
            ),
            (
                f"best start: its own data - {LARGE_SET}, {where}",
                sets["student"] - sets[LARGE_SET],
                (-COMPARABLE_PP, COMPARABLE_PP),
            ),
            (
                f"student's data: best - worst, {where}",
                starts.loc[own, "best"] - starts.loc[own, "worst"],
                ABOVE,
            ),
        )
    ]
    return build_claim(
        tables.campaign,
        13,
        "Starting from the best student beats the worst and the untrained one; adaptive weights "
        "help on Dirichlet and Quantity Skew and hurt on Uniform and Specialized; the best "
        "student's data serve as well as a public set, and far better than the worst student's "
        "data.",
        contrasts,
        remark=_describe_formulas(tables, weighting),
        compared=False,
        stages=("combine",),
        partitions=tuple(WEIGHTING_RANGES),
        transfer_sets=(LARGE_SET, "student"),
    )


def judge_consolidated_start(tables: Tables) -> Claim:
    """C14: mean reduction of rounds per run, and KD alone against FedAvg class by class."""
    targets = tables.rounds_to_target[tables.rounds_to_target["kind"] == "relative"]
    per_run = [
        compute_mean(group["reduction"])
        for _, group in targets.groupby(["partition", "replicate"], sort=False)
    ]
    contrasts = [
        contrast_means(
            "rounds saved on the way to the relative targets, mean per partition and replicate",
            per_run,
            tables.campaign,
            unit="%",
        ),
        *(_contrast_classes(tables, partition) for partition in ALONE_IS_NOT_ENOUGH),
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


def _select_effects(tables: Tables, partition: str, weighting: str | None) -> pd.Series[float]:
    table = tables.replicate_effects.dropna(subset=["paper_effect"])
    here = (table["partition"] == partition) & (table["weighting"] == weighting)
    return table.loc[here, "effect"].astype(float)


def _describe_formulas(tables: Tables, weighting: str | None) -> str:
    found = tables.weighting_agreement
    found = found[found["cells"] > 0]
    if weighting is None or found.empty:
        return ""
    listed = ", ".join(
        f"{line['weighting']} {line['same_sign']} of {line['cells']} "
        f"(rank correlation {line['correlation']:.2f})"
        for line in found.to_dict("records")
    )
    return (
        f"Adaptive weights are judged by the formula {weighting}. Cells in which each formula "
        f"changes the accuracy in the direction of Table II: {listed}; always the same direction "
        f"would score {found['constant'].max()}. Single cells are noisy."
    )


def _contrast_classes(tables: Tables, partition: str) -> Contrast:
    table = tables.class_levels[tables.class_levels["partition"] == partition]
    ahead = (table["random_final"] - table["kd_alone"]).astype(float)
    label = f"{partition}: FedAvg from random weights - KD alone, over classes"
    return contrast_means(label, ahead, tables.campaign)


def _describe_reductions(tables: Tables) -> str:
    table = tables.reductions
    line = table[(table["kind"] == "relative") & table["target"].isna()]
    if line.empty:
        return ""
    here = line.iloc[0]
    total = sum(int(here[key]) for key in ("exact", "at_least", "at_most", "unknown"))
    return (
        f"Mean over partitions {here['reduction']:.1f} %, the paper's {PAPER_ROUND_REDUCTION:g} %; "
        f"with consolidation's own traffic counted, {here['megabytes_reduction']:.1f} % fewer "
        f"bytes. Of {total} reductions, {here['at_least']} are at least and {here['at_most']} at "
        f"most what was counted (a run never reached the target), and {here['unknown']} unknown."
    )
