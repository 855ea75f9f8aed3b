"""How far promises were off, and an interval that really holds as often as it says.

Promises are made for pairs that were not learnt from: every partition (or participant) is left out
once. Pairs of one are alike, so the errors of the others say too little of the next one. How much
too little is measured as well: with a second group left out, the errors of the others are set
against those of the first (``ratio`` below), and intervals are made wider, or narrower, by what
that shows. Whether such intervals hold is measured the same way once more: each group's gains
against the interval that the other groups would have given.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdopt.advice.policies import Chooser
from kdopt.advice.regret import Judged, LeftOut, cross_validate, make_folds
from kdopt.advice.training_set import DO_NOTHING, TrainingSet
from kdopt.analysis.stats import Floats

PROMISED_SHARE = 0.8
"""An interval is made to hold this share of gains. More would take more partitions than there are:
what lies beyond the fourth of five is not seen often enough."""

LEAST_GROUPS = 2
"""An error is set against those of other groups."""


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
