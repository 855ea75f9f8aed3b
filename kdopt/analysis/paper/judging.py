"""Claims taken apart into measured contrasts, and the one rule that turns these into verdicts.

Labels of contrasts seed their intervals and stand in exported tables: do not change them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from kdopt.analysis.combining import EQUAL
from kdopt.analysis.stats import (
    RESAMPLES,
    TIE_DECIMALS,
    average_column,
    compute_interval,
    correlate_ranks,
    estimate_mean,
    make_generator,
)
from kdopt.campaign.names import StageName
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import (
    INITIAL_MODELS,
    METHODS,
    STARTS,
    CombineSettings,
    TransferName,
)

Verdict = Literal["supported", "not supported", "inconclusive", "no data"]
SMALL_SET: TransferName = "public_unlabeled_small"
LARGE_SET: TransferName = "public_unlabeled_large"

COMPARABLE_PP = 1.0
"""Mean gains closer than this (pp) count as comparable; the paper gives no margin."""

LEAST_N = 5
"""Fewer observations decide nothing: their resamples hardly differ."""

RULE = (
    "Each claim is taken apart into contrasts, and each contrast has a range that the claim "
    "implies. A contrast is supported when its whole 95 % bootstrap interval lies inside that "
    "range, not supported when the whole interval lies outside, and inconclusive otherwise, also "
    f"with fewer than {LEAST_N} observations. "
    "A claim is supported only if all its contrasts are, not supported if any one is not, and "
    "inconclusive otherwise; a contrast without data supports nothing."
)
CAVEAT = (
    "Intervals resample pairs (for best teachers: students; for section V: cells, runs or classes, "
    "as the label says) as if they were independent. These share models, images and seeds, so the "
    "intervals are rather too narrow, and they are not "
    "corrected for the number of contrasts or for choosing the hardest rival: a claim of many "
    "contrasts is easily refuted by chance."
)


class Contrast(NamedTuple):
    """One number that a claim makes a statement about.

    Attributes:
        label: What was measured.
        value: The estimate; NaN without data.
        low: Lower end of the 95 % interval; NaN for fewer than two observations.
        high: Upper end.
        n: Observations (pairs, unless the label says otherwise).
        unit: ``pp``, ``%``, or empty for correlations and settings.
        lower: Lower end of the range that the claim implies.
        upper: Upper end of that range.
    """

    label: str
    value: float
    low: float
    high: float
    n: int
    unit: str = "pp"
    lower: float = 0.0
    upper: float = math.inf

    @property
    def verdict(self) -> Verdict:
        """The rule for one contrast; an interval that only touches the border decides nothing."""
        if self.n == 0:
            return "no data"
        if self.n < LEAST_N:
            return "inconclusive"
        if self.low > self.lower and self.high < self.upper:
            return "supported"
        if self.high < self.lower or self.low > self.upper:
            return "not supported"
        return "inconclusive"

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


def combine_verdicts(contrasts: Sequence[Contrast]) -> Verdict:
    """The rule for a claim."""
    verdicts = {contrast.verdict for contrast in contrasts}
    if verdicts <= {"no data"}:
        return "no data"
    if "not supported" in verdicts:
        return "not supported"
    return "supported" if verdicts == {"supported"} else "inconclusive"


def make_empty_contrast(
    label: str, lower: float = 0.0, upper: float = math.inf, unit: str = "pp"
) -> Contrast:
    """A contrast that a claim needs and this campaign does not have."""
    return Contrast(label, math.nan, math.nan, math.nan, 0, unit, lower, upper)


def contrast_means(
    label: str,
    values: Iterable[float],
    campaign: Campaign,
    lower: float = 0.0,
    upper: float = math.inf,
    unit: str = "pp",
) -> Contrast:
    """The mean of one number per pair, with its interval; NaN values are left out."""
    # Rounded as ties are: float noise around 0 would decide contrasts of equal values.
    known = np.array([v for v in values if not math.isnan(v)], dtype=np.float64).round(TIE_DECIMALS)
    estimate = estimate_mean(known, make_generator(campaign.seed, "claims", label))
    return Contrast(label, *estimate, unit, lower, upper)


def contrast_ranks(
    label: str,
    first: pd.Series[float],
    second: pd.Series[float],
    campaign: Campaign,
    lower: float = 0.0,
    upper: float = math.inf,
) -> Contrast:
    """Spearman's rank correlation of two numbers per pair, pairs resampled together."""
    both = pd.DataFrame({"first": first, "second": second}).dropna().round(TIE_DECIMALS)
    x, y = (both[key].to_numpy(dtype=np.float64) for key in ("first", "second"))
    value = float(correlate_ranks(x[None], y[None])[0]) if len(x) > 1 else math.nan
    if math.isnan(value):
        # Too few pairs, or all of them equal: there is no correlation to judge.
        return make_empty_contrast(label, lower, upper, unit="")
    generator = make_generator(campaign.seed, "claims", label)
    drawn = generator.integers(0, len(x), size=(RESAMPLES, len(x)))
    low, high = compute_interval(correlate_ranks(x[drawn], y[drawn]))
    return Contrast(label, value, low, high, len(x), "", lower, upper)


def contrast_with_rivals(
    table: pd.DataFrame,
    method: str,
    others: Sequence[str],
    where: str,
    campaign: Campaign,
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
        table: From :func:`~kdopt.analysis.method_gains.pivot_methods`, only the pairs meant.
        method: The method that the claim is about.
        others: Its rivals.
        where: The pairs meant, for the label.
        campaign: Its seed seeds the interval.
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
    ahead = sign * (block[method] - block[rival])
    return [contrast_means(label, ahead, campaign, unit=unit), *absent]


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
    absent = any(contrast.n == 0 for contrast in contrasts)
    pairwise: list[tuple[StageName, bool]] = [("tune", tuned), ("compare", compared)]
    needed = [*(name for name, wanted in pairwise if wanted), *stages]
    need = _describe_need(campaign, needed, partitions, transfer_sets) if absent else ""
    return Claim(f"C{number}", paper, tuple(contrasts), combine_verdicts(contrasts), remark, need)


def _describe_need(
    campaign: Campaign,
    stages: Sequence[StageName],
    partitions: Sequence[str],
    transfer_sets: Sequence[TransferName],
) -> str:
    """What to add to the spec; what was planned but has no result yet only has to be run."""
    add = [f'"{stage}" to stages' for stage in stages if stage not in campaign.stages]
    listed = {p.name for p in campaign.partitions}
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
            ("federate.initial_models", INITIAL_MODELS, campaign.federate.initial_models),
        ]
    return []
