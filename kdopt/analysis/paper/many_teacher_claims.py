"""Claims C13 and C14 (paper, section V): many teachers in one model, and FedAvg from there."""

from __future__ import annotations

import math

import pandas as pd

from kdopt.analysis.combined import EQUAL, agreement
from kdopt.analysis.federated import reductions
from kdopt.analysis.paper.contrast import COMPARABLE_PP, Contrast, mean_contrast
from kdopt.analysis.paper.evidence import LARGE, Claim, Evidence, claim
from kdopt.analysis.paper.results import MEAN_ROUND_REDUCTION
from kdopt.analysis.runs import mean
from kdopt.campaign.stage_settings import STARTS, TRANSFER_SETS

ABOVE = (0.0, math.inf)
BELOW = (-math.inf, 0.0)
WEIGHTS_CHANGE = {
    "uniform": BELOW,
    "quantity_skew": ABOVE,
    "specialized": BELOW,
    "label_dirichlet": ABOVE,
}
"""Where adaptive weights help and where they hurt; on Random Chunks the paper's are mixed."""

ALONE_IS_NOT_ENOUGH = ("specialized", "label_dirichlet")


def where_to_start_and_whom_to_heed(evidence: Evidence) -> Claim:
    """C13: differences of test accuracy between cells of Table II, each a mean over replicates.

    Starts are compared on public sets only, where the start is all that differs; on the student's
    data worst and best differ in their data too. For the effect of the weights, cells and
    replicates are observations.
    """
    weighting = adaptive_weighting(evidence)
    name = weighting or "adaptive weights"
    cells = evidence.combined[evidence.combined["weighting"].isin([EQUAL, weighting])]
    starts = _columns(cells, "start", STARTS)
    own = starts.index.get_level_values("transfer_set") == "student"
    public = starts[~own]
    sets = _columns(cells[cells["start"] == "best"], "transfer_set", TRANSFER_SETS)
    where = f"cells of {EQUAL} and {name}"
    contrasts = [
        mean_contrast(label, values, evidence.campaign, lower, upper)
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
                    _effects(evidence, partition, weighting),
                    bounds,
                )
                for partition, bounds in WEIGHTS_CHANGE.items()
            ),
            (
                f"best start: its own data - {LARGE}, {where}",
                sets["student"] - sets[LARGE],
                (-COMPARABLE_PP, COMPARABLE_PP),
            ),
            (
                f"student's data: best - worst, {where}",
                starts.loc[own, "best"] - starts.loc[own, "worst"],
                ABOVE,
            ),
        )
    ]
    return claim(
        evidence,
        13,
        "Starting from the best student beats the worst and the untrained one; adaptive weights "
        "help on Dirichlet and Quantity Skew and hurt on Uniform and Specialized; the best "
        "student's data serve as well as a public set, and far better than the worst student's "
        "data.",
        contrasts,
        remark=_formulas(evidence, weighting),
        compared=False,
        stages=("combine",),
        partitions=tuple(WEIGHTS_CHANGE),
        transfer_sets=(LARGE, "student"),
    )


def a_consolidated_start_saves_rounds(evidence: Evidence) -> Claim:
    """C14: mean reduction of rounds per run, and KD alone against FedAvg class by class."""
    targets = evidence.targets[evidence.targets["kind"] == "relative"]
    per_run = [
        mean(group["reduction"])
        for _, group in targets.groupby(["partition", "replicate"], sort=False)
    ]
    contrasts = [
        mean_contrast(
            "rounds saved on the way to the relative targets, mean per partition and replicate",
            per_run,
            evidence.campaign,
            unit="%",
        ),
        *(_not_enough_alone(evidence, partition) for partition in ALONE_IS_NOT_ENOUGH),
    ]
    return claim(
        evidence,
        14,
        "Starting federated averaging from a consolidated model cuts the rounds to reach a target "
        "accuracy; consolidation alone is not enough on Specialized and Dirichlet.",
        contrasts,
        remark=_beside_the_paper(evidence),
        compared=False,
        stages=("federate",),
        partitions=ALONE_IS_NOT_ENOUGH,
    )


def adaptive_weighting(evidence: Evidence) -> str | None:
    """The adaptive formula that claims are judged by; ``None`` if the campaign has none.

    That of federated averaging, if the campaign has that stage and combines so too, else the
    first that the campaign lists.
    """
    campaign = evidence.campaign
    chosen = campaign.federate.weighting if "federate" in campaign.stages else EQUAL
    if chosen != EQUAL and (evidence.combined["weighting"] == chosen).any():
        return chosen
    return next((name for name in campaign.combine.weightings if name != EQUAL), None)


def _columns(cells: pd.DataFrame, key: str, names: tuple[str, ...]) -> pd.DataFrame:
    """Test accuracy (percent), a column per value of ``key`` and a line per rest of the cell."""
    rest = [k for k in ("partition", "transfer_set", "start", "weighting") if k != key]
    table = cells.pivot(index=rest, columns=key, values="accuracy")
    return table.reindex(columns=list(names)).astype(float)


def _effects(evidence: Evidence, partition: str, weighting: str | None) -> pd.Series[float]:
    table = evidence.replicate_effects.dropna(subset=["paper_effect"])
    here = (table["partition"] == partition) & (table["weighting"] == weighting)
    return table.loc[here, "effect"].astype(float)


def _formulas(evidence: Evidence, weighting: str | None) -> str:
    found = agreement(evidence.effects)
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


def _not_enough_alone(evidence: Evidence, partition: str) -> Contrast:
    table = evidence.class_levels[evidence.class_levels["partition"] == partition]
    ahead = (table["random_final"] - table["kd_alone"]).astype(float)
    label = f"{partition}: FedAvg from random weights - KD alone, over classes"
    return mean_contrast(label, ahead, evidence.campaign)


def _beside_the_paper(evidence: Evidence) -> str:
    table = reductions(evidence.targets, evidence.campaign)
    line = table[(table["kind"] == "relative") & table["target"].isna()]
    if line.empty:
        return ""
    here = line.iloc[0]
    total = sum(int(here[key]) for key in ("exact", "at_least", "at_most", "unknown"))
    return (
        f"Mean over partitions {here['reduction']:.1f} %, the paper's {MEAN_ROUND_REDUCTION:g} %; "
        f"with consolidation's own traffic counted, {here['megabytes_reduction']:.1f} % fewer "
        f"bytes. Of {total} reductions, {here['at_least']} are at least and {here['at_most']} at "
        f"most what was counted (a run never reached the target), and {here['unknown']} unknown."
    )
