"""Claims taken apart into measured contrasts, and the one rule that turns these into verdicts.

Labels of contrasts stand in exported tables: do not change them without need.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from kdopt.analysis.combining import EQUAL
from kdopt.analysis.method_gains import ALL_METHODS
from kdopt.analysis.stats import (
    LEAST_UNITS,
    TIE_DECIMALS,
    Estimate,
    Floats,
    average,
    average_column,
    estimate,
    estimate_correlation,
    estimate_independent,
    estimate_mean,
)
from kdopt.analysis.tables import Tables
from kdopt.campaign.federated_algorithms import FEDAVG, INITIAL_MODELS
from kdopt.campaign.names import StageName
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import METHODS, STARTS, CombineSettings, TransferName

Verdict = Literal["supported", "contradicted", "undecided", "no data"]
SMALL_SET: TransferName = "public_unlabeled_small"
LARGE_SET: TransferName = "public_unlabeled_large"

COMPARABLE_PP = 1.0
"""Mean gains closer than this (pp) count as comparable; the paper gives no margin."""

LEVEL = 0.05
"""How often chance alone may support a claim, and how often it may contradict one."""

RULE = (
    "Each claim is taken apart into contrasts, and each contrast has a range that the claim "
    "implies. A contrast is supported when its number lies inside that range, and contradicted "
    "when it lies outside, by more than chance alone would give in "
    f"{100 * LEVEL:g} % of campaigns (one-sided t-tests). Of many contrasts some lie outside by "
    "chance, so for contradictions that share is of all contrasts of a claim together (Holm's "
    "correction). A claim is supported if all its contrasts are, contradicted if any "
    "one is, and undecided otherwise, also where a contrast has no data or rests on fewer than "
    f"{LEAST_UNITS} independent units."
)
CAVEAT = (
    "Independent units are the participants of each partition (for best teachers the students; in "
    "section V partitions, cells or classes, as the label says), not the pairs that share them. "
    "A method is held against the hardest of its rivals, chosen again whenever a participant is "
    "left out; for a contradiction the number of rivals counts too. Between claims nothing is "
    "corrected, and all speak of this campaign's models and images only."
)


class Contrast(NamedTuple):
    """One number that a claim makes a statement about.

    Attributes:
        label: What was measured.
        value: The estimate; NaN without data.
        low: Lower end of the 95 % interval; NaN for too few independent units.
        high: Upper end.
        n: Observations (pairs, unless the label says otherwise).
        unit: ``pp``, ``%``, or empty for correlations and settings.
        lower: Lower end of the range that the claim implies.
        upper: Upper end of that range.
        inside: How likely a number so far inside is if the truth lies outside; NaN if unknown.
        outside: How likely a number so far outside is if the truth lies inside.
        verdict: By :data:`RULE`, from :func:`judge_contrasts`.
    """

    label: str
    value: float
    low: float
    high: float
    n: int
    unit: str = "pp"
    lower: float = 0.0
    upper: float = math.inf
    inside: float = math.nan
    outside: float = math.nan
    verdict: Verdict = "undecided"

    @property
    def claimed(self) -> str:
        """The claimed range as people read it."""
        if self.upper == math.inf:
            return f"above {self.lower:g}"
        if self.lower == -math.inf:
            return f"below {self.upper:g}"
        return f"{self.lower:g} to {self.upper:g}"


class Claim(NamedTuple):
    """One claim of the paper beside what this campaign measured.

    Attributes:
        id: ``C1`` to ``C14``.
        paper: What the paper says.
        contrasts: What was measured for it.
        verdict: By :data:`RULE`.
        remark: What a reader must know beside the numbers.
        need: What to run to have the missing data; empty when nothing is missing.
    """

    id: str
    paper: str
    contrasts: tuple[Contrast, ...]
    verdict: Verdict
    remark: str
    need: str


def judge_contrasts(contrasts: Iterable[Contrast]) -> tuple[Contrast, ...]:
    """The contrasts of one claim, each with its verdict."""
    judged = list(contrasts)
    tested = sorted(
        (i for i, c in enumerate(judged) if not math.isnan(c.outside)),
        key=lambda i: judged[i].outside,
    )
    contradicted = set()
    for rank, number in enumerate(tested):
        # Holm 1979: the first that is not far enough outside ends it for all that follow.
        if judged[number].outside * (len(tested) - rank) >= LEVEL:
            break
        contradicted.add(number)
    for number, contrast in enumerate(judged):
        verdict: Verdict = "undecided"
        if contrast.n == 0:
            verdict = "no data"
        elif contrast.inside < LEVEL:
            verdict = "supported"
        elif number in contradicted:
            verdict = "contradicted"
        judged[number] = contrast._replace(verdict=verdict)
    return tuple(judged)


def combine_verdicts(contrasts: Sequence[Contrast]) -> Verdict:
    """The rule for a claim."""
    verdicts = {contrast.verdict for contrast in contrasts}
    if verdicts <= {"no data"}:
        return "no data"
    if "contradicted" in verdicts:
        return "contradicted"
    return "supported" if verdicts == {"supported"} else "undecided"


def make_contrast(
    label: str,
    found: Estimate,
    lower: float = 0.0,
    upper: float = math.inf,
    unit: str = "pp",
    tried: int = 1,
) -> Contrast:
    """A contrast from its estimate; ``tried`` counts the rivals that the hardest is one of."""
    inside = max(found.test_above(lower), found.test_below(upper))
    outside = min(1.0, tried * min(found.test_below(lower), found.test_above(upper)))
    if math.isnan(found.low):
        inside = outside = math.nan
    return Contrast(label, *found[:4], unit, lower, upper, inside, outside)


def make_empty_contrast(
    label: str, lower: float = 0.0, upper: float = math.inf, unit: str = "pp"
) -> Contrast:
    """A contrast that a claim needs and this campaign does not have."""
    return Contrast(label, math.nan, math.nan, math.nan, 0, unit, lower, upper)


def contrast_means(
    label: str,
    table: pd.DataFrame,
    values: pd.Series[float],
    lower: float = 0.0,
    upper: float = math.inf,
    unit: str = "pp",
) -> Contrast:
    """The mean of one number per line of a table that says who taught whom."""
    # Rounded as ties are: float noise around 0 would decide contrasts of equal values.
    found = estimate_mean(table, values.astype(float).round(TIE_DECIMALS))
    return make_contrast(label, found, lower, upper, unit)


def contrast_independent(
    label: str,
    values: Iterable[float],
    lower: float = 0.0,
    upper: float = math.inf,
    unit: str = "pp",
) -> Contrast:
    """The mean of numbers that are units themselves, such as partitions or classes."""
    found = estimate_independent(round(value, TIE_DECIMALS) for value in values)
    return make_contrast(label, found, lower, upper, unit)


def contrast_ranks(
    label: str,
    table: pd.DataFrame,
    first: pd.Series[float],
    second: pd.Series[float],
    lower: float = 0.0,
    upper: float = math.inf,
) -> Contrast:
    """Spearman's rank correlation within partitions of two numbers per line of a table."""
    found = estimate_correlation(table, first.round(TIE_DECIMALS), second.round(TIE_DECIMALS))
    if math.isnan(found.mean):
        # Too few pairs, or all of them equal: there is no correlation to judge.
        return make_empty_contrast(label, lower, upper, unit="")
    return make_contrast(label, found, lower, upper, unit="")


def contrast_with_rivals(
    table: pd.DataFrame,
    method: str,
    others: Sequence[str],
    where: str,
    *,
    sign: int = 1,
    measure: str = "",
    unit: str = "pp",
) -> list[Contrast]:
    """A method against the hardest of its rivals, pair by pair.

    The rival is the one of greatest (``sign`` 1) or smallest (-1) mean over the pairs in which
    all were measured; the contrast is positive when the method lies beyond it on that side.
    Rivals never run are named as contrasts without data: nobody beats what was not tried.

    Args:
        table: A line per pair, a column per method; only the pairs meant.
        method: The method that the claim is about.
        others: Its rivals.
        where: The pairs meant, for the label.
        sign: Whether the claim calls the method the greatest or the smallest.
        measure: What is compared, for the label; nothing for test gain.
        unit: Its unit.
    """
    run = [other for other in others if table[other].notna().any()]
    absent = [
        make_empty_contrast(f"{where}: {other} was not run") for other in others if other not in run
    ]
    if not run or not table[method].notna().any():
        return [make_empty_contrast(f"{where}: {method} against {', '.join(others)}")]
    # Rivals are compared over the same pairs, or the hardest would be the one with easy pairs.
    block = table.dropna(subset=[method, *run])
    if block.empty:
        return [
            make_empty_contrast(f"{where}: no pair has all of {method}, {', '.join(run)}"),
            *absent,
        ]
    rival = max(run, key=lambda other: sign * average_column(block, other))
    first, second = (method, rival) if sign == 1 else (rival, method)
    label = f"{where}: {measure}{' ' if measure else ''}{first} - {second}"
    if len(run) > 1:
        label += f" ({'greatest' if sign == 1 else 'least'} of the others)"
    ahead = np.column_stack([sign * (block[method] - block[other]) for other in run])
    ahead = ahead.astype(np.float64).round(TIE_DECIMALS)

    def lead(weights: Floats) -> Floats:
        least: Floats = average(weights, ahead).min(axis=1)
        return least

    return [make_contrast(label, estimate(lead, block), unit=unit, tried=len(run)), *absent]


def list_families(campaign: Campaign) -> list[str]:
    """The campaign's ways of partitioning; draws of one belong together."""
    return list(dict.fromkeys(partition.kind for partition in campaign.partitions))


def select_families(table: pd.DataFrame, campaign: Campaign, *families: str) -> pd.DataFrame:
    """The lines of some ways of partitioning, all draws of them."""
    kinds = [campaign.get_family(str(name)) for name in table["partition"]]
    return table[np.array([kind in families for kind in kinds], dtype=bool)]


def select_net_gains(tables: Tables, transfer_set: TransferName) -> tuple[pd.DataFrame, str]:
    """Net gains by method and what to call them; gains where no control ran."""
    table = tables.pivot_methods(transfer_set, "net_gain")
    if table.empty or table[list(ALL_METHODS)].notna().any(axis=None):
        return table, "net gain"
    return tables.pivot_methods(transfer_set), "test gain (no control ran)"


def build_claim(
    campaign: Campaign,
    number: int,
    paper: str,
    contrasts: Sequence[Contrast],
    *,
    remark: str = "",
    tuned: bool = False,
    compared: bool = True,
    stages: Sequence[StageName] = (),
    partitions: Sequence[str] = (),
    transfer_sets: Sequence[TransferName] = (),
) -> Claim:
    """Put a claim together; the keywords say what it needs of a campaign.

    Args:
        campaign: What was planned.
        number: The claim's number.
        paper: What the paper says.
        contrasts: What was measured.
        remark: What to know beside the numbers.
        tuned: It needs the stage ``tune``.
        compared: It needs the stage ``compare``.
        stages: Further stages that it needs.
        partitions: Partitions it is about.
        transfer_sets: Transfer sets it is about.
    """
    judged = judge_contrasts(contrasts)
    absent = any(contrast.n == 0 for contrast in judged)
    pairwise: list[tuple[StageName, bool]] = [("tune", tuned), ("compare", compared)]
    needed = [*(name for name, wanted in pairwise if wanted), *stages]
    need = _describe_need(campaign, needed, partitions, transfer_sets) if absent else ""
    return Claim(f"C{number}", paper, judged, combine_verdicts(judged), remark, need)


def _describe_need(
    campaign: Campaign,
    stages: Sequence[StageName],
    partitions: Sequence[str],
    transfer_sets: Sequence[TransferName],
) -> str:
    """What to add to the spec; what was planned but has no result yet only has to be run."""
    add = [f'"{stage}" to stages' for stage in stages if stage not in campaign.stages]
    listed = set(list_families(campaign))
    add += [f'"{name}" to partitions' for name in partitions if name not in listed]
    settings = [line for stage in stages for line in _list_settings(campaign, stage, transfer_sets)]
    if any(key.endswith("transfer_sets") for key, _, _ in settings):
        add += [
            f"transfer.{name} (with images)"
            for name in transfer_sets
            if name != "student" and not campaign.transfer.size(name)
        ]
    add += [
        f'"{value}" to {key}'
        for key, wanted, listed_values in settings
        for value in wanted
        if value not in listed_values
    ]
    if "federate" in stages and not campaign.federate.relative_targets:
        add.append("shares to federate.relative_targets")
    if add:
        return f"add {', '.join(add)} and run again"
    if not {"tune", "compare"} & set(stages):
        return "run the campaign to its end"
    return "run the campaign to its end; with few participants there may be no such pairs"


def _list_settings(
    campaign: Campaign, stage: StageName, transfer_sets: Sequence[TransferName]
) -> list[tuple[str, Sequence[str], Sequence[str]]]:
    """Settings of a stage that decide what it runs: key, values needed, values of the campaign."""
    if stage == "compare":
        compare = campaign.compare
        return [
            ("compare.transfer_sets", transfer_sets, compare.transfer_sets),
            ("compare.methods", METHODS, compare.methods),
        ]
    if stage == "combine":
        combine = campaign.combine
        adaptive = any(name != EQUAL for name in combine.weightings)
        weightings = (EQUAL,) if adaptive else CombineSettings().weightings
        return [
            ("combine.transfer_sets", transfer_sets, combine.transfer_sets),
            ("combine.starts", STARTS, combine.starts),
            ("combine.weightings", weightings, combine.weightings),
        ]
    if stage == "federate":
        return [
            ("federate.algorithms", (FEDAVG,), campaign.federate.algorithms),
            ("federate.initial_models", INITIAL_MODELS, campaign.federate.initial_models),
        ]
    return []
