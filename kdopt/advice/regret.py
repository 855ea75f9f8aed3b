"""What following advice would have lost, on pairs that it was not learnt from.

A policy learns from all partitions (or participants) but one, and chooses for the pairs of that
one. Its *regret* is the test gain of the pair's best action minus that of the chosen one, in pp.
The oracle knows the test gains and has regret 0 by definition; it is the greatest of many noisy
numbers, so nobody reaches it, and searching every action on validation (which costs a trial each)
stands beside it. A policy also *promises* a gain: what its action gained on the pairs that it
rests on. The promise minus the real gain is its *bias*.
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
from kdopt.analysis.stats import RESAMPLES, TIE_DECIMALS
from kdopt.campaign.names import seed_for

LeftOut = Literal["partition", "participant"]

Fold = tuple[NDArray[np.bool_], NDArray[np.bool_]]
"""Masks of the pairs to learn from and of those to judge on, each (pairs,)."""

SPREAD_FLOOR_PP = 0.5
"""Added to the spread of gains: pairs that agree by luck must not make a promise certain."""

REGRET_MEASURES = (
    "gain",
    "net_gain",
    "bias",
    "regret",
    "behind_lead",
    "guarded_gain",
    "guarded_regret",
)
REGRET_COLUMNS = (
    "situation",
    "left_out",
    "policy",
    "label",
    "trials",
    "leads",
    *(f"{name}{end}" for name in REGRET_MEASURES for end in ("", "_low", "_high")),
    "n",
)


class Promise(NamedTuple):
    """What actions are expected to gain, from what they gained on the pairs they rest on.

    Attributes:
        gain: Test gains, pp, (pairs,).
        net: The same over training on without a teacher; NaN where no control ran.
        spread: How much the gains differ among the pairs that each rests on, pp, > 0.
    """

    gain: NDArray[np.float64]
    net: NDArray[np.float64]
    spread: NDArray[np.float64]


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
    bootstrap intervals over students (all pairs of one are drawn together, since they share a
    model and images).

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
    lead = _find_lead(training_set, regret, left_out)
    lines: list[dict[str, object]] = []
    for policy in policies:
        choices = judged[policy.name]
        gain = select_gains(training_set, choices.advised)
        acts = choices.advised != training_set.actions.index(DO_NOTHING)
        knows = policy.name not in SEARCH_POLICIES
        # The oracle is the best on test by definition, whatever validation says.
        guarded = select_gains(training_set, choices.tried, guard=policy.name != "oracle")
        # In the order of REGRET_MEASURES.
        measured = (
            gain,
            select_net_gains(training_set, choices.advised),
            np.where(acts & knows, choices.promised.gain - gain, np.nan),
            regret[policy.name],
            regret[policy.name] - regret[lead],
            guarded,
            best - guarded,
        )
        line: dict[str, object] = {
            "situation": training_set.situation,
            "left_out": left_out,
            "policy": policy.name,
            "label": policy.label,
            "trials": len(training_set.actions) - 1 if policy.name in SEARCH_POLICIES else 0,
            "leads": policy.name == lead,
            "n": len(training_set),
        }
        for name, values in zip(REGRET_MEASURES, measured, strict=True):
            for end, number in zip(
                ("", "_low", "_high"), _estimate_mean(values, training_set, left_out), strict=True
            ):
                line[f"{name}{end}"] = number
        lines.append(line)
    return pd.DataFrame(lines, columns=list(REGRET_COLUMNS))


def cross_validate(training_set: TrainingSet, choose: Chooser, folds: Sequence[Fold]) -> Judged:
    """What a policy chooses and promises for every pair when it learns from other folds only.

    Pairs of no fold are left with the first action and an unknown promise.
    """
    n = len(training_set)
    advised, tried = np.zeros((2, n), dtype=np.intp)
    promised, promised_tried = Promise(*np.full((3, n), np.nan)), Promise(*np.full((3, n), np.nan))
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
    lines = []
    for action, rows in zip(actions, rests_on, strict=True):
        gains = known.test[rows, action]
        spread = float(gains.std(ddof=1)) if len(gains) > 1 else 0.0
        lines.append((gains.mean(), net[rows, action].mean(), spread + SPREAD_FLOOR_PP))
    return Promise(*np.array(lines, dtype=np.float64).reshape(-1, 3).T)


def select_net_gains(training_set: TrainingSet, chosen: Indices) -> NDArray[np.float64]:
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

    A partition is left out of all campaigns at once, so that its kind of skew is unknown. So is a
    participant (a number) of all partitions: the pairs that it is the student of are judged, and
    those that it is the teacher of are not learnt from either.
    """
    pairs = training_set.pairs
    partition = pairs["partition"].to_numpy()
    teacher, student = pairs["teacher"].to_numpy(), pairs["student"].to_numpy()
    # dict.fromkeys and not set: folds come in the order of the pairs.
    if left_out == "partition":
        folds = [(partition != name, partition == name) for name in dict.fromkeys(partition)]
    else:
        folds = [
            ((student != who) & (teacher != who), student == who) for who in dict.fromkeys(student)
        ]
    yield from (fold for fold in folds if fold[0].any())


def _find_lead(
    training_set: TrainingSet, regret: Mapping[str, NDArray[np.float64]], left_out: LeftOut
) -> str:
    """The simplest rule that does not lose measurably more than the one that loses least."""
    rules = [name for name in RULES if name in regret]
    least = min(rules, key=lambda name: round(float(regret[name].mean()), TIE_DECIMALS))

    def is_as_good(name: str) -> bool:
        _, low, _ = _estimate_mean(regret[name] - regret[least], training_set, left_out)
        return low <= 0

    return next(name for name in rules if name == least or is_as_good(name))


def _estimate_mean(
    values: NDArray[np.float64], training_set: TrainingSet, left_out: LeftOut
) -> tuple[float, float, float]:
    """The mean over pairs of what is known, with its bootstrap bounds over students."""
    known = np.isfinite(values)
    if not known.any():
        return math.nan, math.nan, math.nan
    columns = training_set.pairs.loc[known, ["campaign", "partition", "student"]]
    keys = columns.astype(str).agg("/".join, axis=1)
    _, group = np.unique(keys.to_numpy(dtype=str), return_inverse=True)
    n = int(group.max()) + 1
    rng = np.random.default_rng(seed_for("regret", training_set.situation, left_out))
    # How often each student, and so each of its pairs, is in each sample.
    weights = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES)[:, group].astype(np.float64)
    means = weights @ values[known] / weights.sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(values[known].mean()), float(low), float(high)
