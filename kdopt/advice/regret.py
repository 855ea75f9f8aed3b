"""What following advice would have lost, on pairs that it was not learnt from.

A policy learns from all partitions (or participants) but one, and chooses for the pairs of that
one. Its *regret* is the test gain of the pair's best action minus that of the chosen one, in pp.
The oracle knows the test gains and has regret 0 by definition; it is the greatest of many noisy
numbers, so nobody reaches it, and searching every action on validation (which costs a trial each)
stands beside it. A policy also *promises* a gain: what its action gained on the pairs that it
rests on. The promise minus the real gain is its *bias*.

:func:`calibrate` makes intervals around promises that hold as often as they say. Pairs of one
partition (or participant) are alike, so the errors of the others say too little of the next one.
How much too little is measured as well: with a second group left out, the errors of the others are
set against those of the first, and intervals are made wider, or narrower, by what that shows.
Whether such intervals hold is measured the same way once more: each group's gains against the
interval that the other groups would have given.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kdopt.advice.policies import RULES, SEARCH_POLICIES, Chooser, list_policies
from kdopt.advice.training_set import DO_NOTHING, TrainingSet
from kdopt.advice.tree import Indices
from kdopt.analysis.stats import TIE_DECIMALS, Estimate, Floats, estimate_mean

LeftOut = Literal["partition", "participant"]

Fold = tuple[NDArray[np.bool_], NDArray[np.bool_]]
"""Masks of the pairs to learn from and of those to judge on, each (pairs,)."""

LEAD_LEVEL = 0.05
"""How often a more complex rule may lead by chance where it is no better than the simplest."""

REGRET_MEASURES = (
    "gain", "net_gain", "bias", "regret", "behind_lead", "guarded_gain", "guarded_regret",
)  # fmt: skip
REGRET_COLUMNS = (
    "situation", "left_out", "policy", "label", "trials", "leads",
    *(f"{name}{end}" for name in REGRET_MEASURES for end in ("", "_low", "_high")), "n",
)  # fmt: skip


PROMISED_SHARE = 0.8
"""An interval is made to hold this share of gains. More would take more partitions than there are:
what lies beyond the fourth of five is not seen often enough."""

LEAST_GROUPS = 2
"""An error is set against those of other groups."""


class Promise(NamedTuple):
    """What actions are expected to gain, from what they gained on the pairs they rest on.

    Attributes:
        gain: Test gains, pp, (pairs,).
        net: The same over training on without a teacher; NaN where no control ran.
    """

    gain: NDArray[np.float64]
    net: NDArray[np.float64]


class Judged(NamedTuple):
    """What a policy chooses for pairs that it did not learn from, and what it promises of them."""

    advised: Indices
    tried: Indices
    promised: Promise
    promised_tried: Promise


def compare_policies(
    training_set: TrainingSet, left_out: LeftOut = "partition", names: Sequence[str] | None = None
) -> pd.DataFrame:
    """One row per policy, in the order of :func:`list_policies`.

    ``trials`` is what choosing costs per pair. ``leads`` marks the rule to follow: the simplest
    that does not lose measurably more than the one that loses least. ``net_gain`` is the gain over
    training on without a teacher, 0 where no teacher is used; unknown where no control ran.
    ``bias`` is the promised minus the real gain, over the pairs that the policy does something
    with. ``behind_lead`` is the policy's regret minus that of the rule that leads. Bounds are 95 %
    intervals over what was left out (:func:`list_units`).

    Args:
        training_set: Finished pairs of one situation.
        left_out: What is never learnt from when it is judged on: the pair's whole partition, or
            its student (see :func:`make_folds`).
        names: Features that trees may ask for; ``None`` for all that are known of every pair.

    Returns:
        The columns :data:`REGRET_COLUMNS`; empty when nothing can be left out.
    """
    folds = list(make_folds(training_set, left_out))
    if not folds:
        return pd.DataFrame(columns=list(REGRET_COLUMNS))
    best = training_set.test.max(axis=1)
    policies = list_policies(training_set, training_set.usable_features if names is None else names)
    judged = {p.name: cross_validate(training_set, p.choose, folds) for p in policies}
    regret = {n: best - select_gains(training_set, c.advised) for n, c in judged.items()}
    units = list_units(training_set, left_out)
    lead = _find_lead(regret, units)
    lines: list[dict[str, object]] = []
    for policy in policies:
        measured = _measure_policy(training_set, policy.name, judged[policy.name], regret[lead])
        line: dict[str, object] = {
            "situation": training_set.situation,
            "left_out": left_out,
            "policy": policy.name,
            "label": policy.label,
            "trials": len(training_set.actions) - 1 if policy.name in SEARCH_POLICIES else 0,
            "leads": policy.name == lead,
            "n": len(training_set),
        }
        lines.append(line | estimate_measures(REGRET_MEASURES, measured, units))
    return pd.DataFrame(lines, columns=list(REGRET_COLUMNS))


def _measure_policy(
    training_set: TrainingSet, name: str, choices: Judged, of_lead: NDArray[np.float64]
) -> tuple[NDArray[np.float64], ...]:
    """What a policy gives for every pair, in the order of :data:`REGRET_MEASURES`."""
    best = training_set.test.max(axis=1)
    gain = select_gains(training_set, choices.advised)
    acts = choices.advised != training_set.actions.index(DO_NOTHING)
    knows = name not in SEARCH_POLICIES
    # The oracle is the best on test by definition, whatever validation says.
    guarded = select_gains(training_set, choices.tried, guard=name != "oracle")
    return (
        gain,
        compute_net_gains(training_set, choices.advised),
        np.where(acts & knows, choices.promised.gain - gain, np.nan),
        best - gain,
        best - gain - of_lead,
        guarded,
        best - guarded,
    )


def cross_validate(training_set: TrainingSet, choose: Chooser, folds: Sequence[Fold]) -> Judged:
    """What a policy chooses and promises for every pair when it learns from other folds only.

    Pairs of no fold are left with the first action and an unknown promise.
    """
    n = len(training_set)
    advised, tried = np.zeros((2, n), dtype=np.intp)
    promised, promised_tried = Promise(*np.full((2, n), np.nan)), Promise(*np.full((2, n), np.nan))
    for known, new in folds:
        learnt_from = training_set.select_pairs(known)
        choices = choose(learnt_from, training_set.select_pairs(new))
        advised[new], tried[new] = choices.advised, choices.tried
        for to, actions in ((promised, choices.advised), (promised_tried, choices.tried)):
            made = make_promise(learnt_from, actions, choices.rests_on)
            for column, values in zip(to, made, strict=True):
                column[new] = values
    return Judged(advised, tried, promised, promised_tried)


def make_promise(known: TrainingSet, actions: Indices, rests_on: NDArray[np.bool_]) -> Promise:
    """What actions are expected to gain: their mean test gains on the pairs that they rest on.

    Args:
        known: The pairs that were learnt from.
        actions: For each new pair the index of an action, (pairs,).
        rests_on: See :class:`Choices`, (pairs, known).
    """
    net = known.test - known.control[:, None]
    some = [a for a in range(len(known.actions)) if a not in known.distilling]
    net[:, some] = np.where(np.isnan(net[:, some]), np.nan, 0.0)
    # Most pairs share their action and what it rests on with many others.
    means: dict[tuple[int, bytes], tuple[float, float]] = {}
    keys = [(int(a), rows.tobytes()) for a, rows in zip(actions, rests_on, strict=True)]
    for key, rows in zip(keys, rests_on, strict=True):
        if key not in means:
            means[key] = known.test[rows, key[0]].mean(), net[rows, key[0]].mean()
    lines = [means[key] for key in keys]
    return Promise(*np.array(lines, dtype=np.float64).reshape(-1, 2).T)


def compute_net_gains(training_set: TrainingSet, chosen: Indices) -> NDArray[np.float64]:
    """The teacher's part of test gains, pp, (pairs,): 0 without a teacher, NaN if not known."""
    net: NDArray[np.float64] = select_gains(training_set, chosen) - training_set.control
    without = ~np.isin(chosen, training_set.distilling)
    return np.where(without & ~np.isnan(net), 0.0, net)


def select_gains(
    training_set: TrainingSet, chosen: Indices, guard: bool = False
) -> NDArray[np.float64]:
    """Test gains of chosen actions, pp, (pairs,); 0 where the guard keeps the untouched student."""
    lines = np.arange(len(training_set))
    gains: NDArray[np.float64] = training_set.test[lines, chosen]
    if guard:
        rose = np.round(training_set.validation[lines, chosen], TIE_DECIMALS) > 0
        gains = np.where(rose, gains, 0.0)
    return gains


def make_folds(training_set: TrainingSet, left_out: LeftOut) -> Iterator[Fold]:
    """All ways to leave one partition, or one participant, out; none when nothing would be left.

    A partition is left out of all campaigns and draws at once, so that its kind of skew is
    unknown. So is a participant (a number) of all partitions: the pairs that it is the student of
    are judged, and those that it is the teacher of are not learnt from either.
    """
    pairs = training_set.pairs
    partition = pairs["family"].to_numpy()
    teacher, student = pairs["teacher"].to_numpy(), pairs["student"].to_numpy()
    # dict.fromkeys and not set: folds come in the order of the pairs.
    if left_out == "partition":
        folds = [(partition != name, partition == name) for name in dict.fromkeys(partition)]
    else:
        folds = [
            ((student != who) & (teacher != who), student == who) for who in dict.fromkeys(student)
        ]
    yield from (fold for fold in folds if fold[0].any())


def list_units(training_set: TrainingSet, left_out: LeftOut) -> pd.DataFrame:
    """What is independent among the pairs, as :func:`kdopt.analysis.stats.estimate_mean` reads it.

    For a partition that is not known, partitions are the units: how much rules differ between
    partitions is what is uncertain. Otherwise participants are, within each partition.
    """
    pairs = training_set.pairs
    if left_out == "partition":
        # Without a teacher students are the units, so the families stand for students.
        return pd.DataFrame({"partition": "all", "student": pairs["family"]})
    places = pairs["campaign"].astype(str) + "/" + pairs["partition"].astype(str)
    return pairs[["teacher", "student"]].assign(partition=places)


def estimate_over_units(values: NDArray[np.float64], units: pd.DataFrame) -> Estimate:
    """The mean over pairs of what is known, with its interval; no interval below five units."""
    return estimate_mean(units, pd.Series(values, units.index))


def estimate_measures(
    names: Sequence[str], measured: Sequence[NDArray[np.float64]], units: pd.DataFrame
) -> dict[str, float]:
    """The mean of each measure over pairs, and its interval as ``..._low`` and ``..._high``."""
    found: dict[str, float] = {}
    for name, values in zip(names, measured, strict=True):
        mean = estimate_over_units(values, units)
        found |= mean.name_columns(name, f"{name}_low", f"{name}_high")
    return found


def _find_lead(regret: Mapping[str, NDArray[np.float64]], units: pd.DataFrame) -> str:
    """The simplest rule that does not lose measurably more than the one that loses least."""
    rules = [name for name in RULES if name in regret]
    least = min(rules, key=lambda name: round(float(regret[name].mean()), TIE_DECIMALS))
    # One of several rules loses least by luck alone: each comparison gets its part of the level.
    level = LEAD_LEVEL / max(1, len(rules) - 1)

    def loses_more(name: str) -> bool:
        # NaN, where there are too few units to tell, is no measured difference either.
        return estimate_over_units(regret[name] - regret[least], units).test_above(0) < level

    return next(name for name in rules if name == least or not loses_more(name))


class Calibration(NamedTuple):
    """What promises were worth on pairs that were not learnt from.

    Attributes:
        bias: Mean of promised minus real gains, pp: above 0 where too much was promised.
        error: Mean absolute difference of the two, pp.
        reach: Half an interval's width, pp; NaN with too few groups.
        held: The share of gains that intervals made without their group held, in [0, 1]; NaN
            with too few groups.
        n: Pairs that were promised something.
    """

    bias: float
    error: float
    reach: float
    held: float
    n: int


class CalibratedGains(NamedTuple):
    """The calibration of promised gains, and of the gains over training on without a teacher."""

    gain: Calibration
    net: Calibration


def calibrate(
    training_set: TrainingSet, choose: Chooser, left_out: LeftOut, tried: bool = False
) -> CalibratedGains:
    """Measure the promises of a policy on what it does not know.

    Args:
        training_set: Finished pairs of one situation.
        choose: The policy.
        left_out: What is never learnt from when it is judged on.
        tried: Judge what the policy would try under the guard. Otherwise what it advises is
            judged, over the pairs that it does something with.
    """
    folds = list(make_folds(training_set, left_out))
    groups = np.full(len(training_set), -1)
    for number, (_, new) in enumerate(folds):
        groups[new] = number
    outer = _measure_errors(training_set, cross_validate(training_set, choose, folds), tried)
    # By group that is left out besides the pair's own; NaN where that is not known.
    inner = np.full((2, len(folds), len(training_set)), np.nan)
    for number, (known, _) in enumerate(folds):
        rest = training_set.select_pairs(known)
        judged = cross_validate(rest, choose, list(make_folds(rest, left_out)))
        inner[:, number, known] = _measure_errors(rest, judged, tried)
    return CalibratedGains(*(_calibrate_groups(groups, outer[i], inner[i]) for i in range(2)))


def _measure_errors(training_set: TrainingSet, judged: Judged, tried: bool) -> Floats:
    """Promised minus real gains, and net gains, pp, (2, pairs); NaN where nothing is promised."""
    actions = judged.tried if tried else judged.advised
    promised = judged.promised_tried if tried else judged.promised
    lines = np.arange(len(training_set))
    real = training_set.test[lines, actions]
    distils = np.isin(actions, training_set.distilling)
    of_teacher = np.where(distils, real - training_set.control, 0.0)
    errors: Floats = np.stack([promised.gain - real, promised.net - of_teacher])
    errors[:, actions == training_set.actions.index(DO_NOTHING)] = np.nan
    # Without a teacher the net gain is 0 by definition, which no one needs to promise.
    errors[1, ~distils] = np.nan
    return errors


def _calibrate_groups(groups: NDArray[np.intp], outer: Floats, inner: Floats) -> Calibration:
    known = np.isfinite(outer)
    if not known.any():
        return Calibration(math.nan, math.nan, math.nan, math.nan, 0)
    reach = _find_reach(groups, outer, inner)
    hits: list[bool] = []
    for group in np.unique(groups[known]):
        # As if this group had never been seen: the others' errors are those without it.
        rest = np.where(groups == group, np.nan, inner[group])
        others = inner.copy()
        others[:, groups == group] = np.nan
        others[group] = np.nan
        within = _find_reach(groups, rest, others)
        if math.isfinite(within):
            hits += (np.abs(outer[known & (groups == group)]) <= within).tolist()
    errors = outer[known]
    held = float(np.mean(hits)) if hits else math.nan
    return Calibration(
        float(errors.mean()), float(np.abs(errors).mean()), reach, held, int(known.sum())
    )


def _find_reach(groups: NDArray[np.intp], outer: Floats, inner: Floats) -> float:
    """How far to go either way so that a new group's errors are held; NaN with too few groups.

    Args:
        groups: The group of each pair, (pairs,).
        outer: Errors without the pair's group, (pairs,).
        inner: The same with one group more left out, (groups, pairs).
    """
    known = np.isfinite(outer)
    ratios: list[float] = []
    for group in np.unique(groups[known]):
        others = np.abs(inner[group][np.isfinite(inner[group])])
        if len(others):
            usual = max(_find_quantile(others), 1e-9)
            ratios += (np.abs(outer[known & (groups == group)]) / usual).tolist()
    if len(np.unique(groups[known])) < LEAST_GROUPS or not ratios:
        return math.nan
    return _find_quantile(np.array(ratios)) * _find_quantile(np.abs(outer[known]))


def _find_quantile(values: Floats) -> float:
    """The least of the values that so many lie at or below."""
    # Rounded before ceil: 0.8 * 5 may be a little more than 4.
    rank = math.ceil(round(PROMISED_SHARE * len(values), 9))
    return float(np.sort(values)[rank - 1])
