"""Advice for a pair that nothing was distilled for yet.

The rule that loses least leads: the decision tree, or a simpler one where the tree does not lose
measurably less on pairs that it was not learnt from (:mod:`kdopt.advice.regret`). What is expected
is what its action gained on the finished pairs that it rests on. How far such promises were off,
and an interval that holds as often as it says, stand beside it (:mod:`kdopt.advice.regret`).

For a pair of a partition that is among the finished ones, participants are left out to judge; for
any other pair whole partitions, as its kind of skew is unknown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from kdopt.advice.policies import RULES, TREE_POLICY, Policy, list_policies
from kdopt.advice.regret import (
    PROMISED_SHARE,
    Calibration,
    LeftOut,
    calibrate,
    compare_policies,
    make_promise,
)
from kdopt.advice.training_set import DO_NOTHING, TRAIN_ON, Action, TrainingSet
from kdopt.advice.tree import Answer, Leaf, grow_tree
from kdopt.errors import AdviceError
from kdopt.outcome import Pair
from kdopt.shown import format_count

MIN_TRAINING_PAIRS = 20
"""Three of the smallest leaves: with fewer, what tells pairs apart could be luck."""

MIN_TRAINING_PARTITIONS = 3
"""With two, advice for a third would be judged by trees that know a single one."""

N_SIMILAR_PAIRS = 3


class Forecast(NamedTuple):
    """A gain that is promised, and what such promises were worth.

    Attributes:
        value: The promise, pp: nothing is taken off it.
        low: Lower end of the interval around it, pp; NaN where too few groups can be left out.
        high: Upper end, pp.
        level: The share of gains that the interval is made to hold.
        held: The share that such intervals held of groups left out; NaN if not known.
        bias: How much too high such promises were there on average, pp.
        error: How far off they were on average, pp.
    """

    value: float
    low: float
    high: float
    level: float
    held: float
    bias: float
    error: float


NO_GAIN = Forecast(0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0)
"""Of what cannot gain or lose anything."""


class Expected(NamedTuple):
    """What to expect of an action.

    Attributes:
        action: Which.
        gain: Test gain, pp.
        net: The same over training on without a teacher; 0 without a teacher, and its numbers
            are NaN where no control ran.
    """

    action: Action
    gain: Forecast
    net: Forecast


class SimilarPair(NamedTuple):
    """A finished pair with features near those asked about.

    Attributes:
        campaign: Its campaign.
        pair: The pair.
        transfer_set: The images that were distilled on.
        gain: Test gain there of the action that is advised, or else of the best way to distil, pp.
    """

    campaign: str
    pair: Pair
    transfer_set: str
    gain: float


class RuleChoice(NamedTuple):
    """What a rule says for the pair.

    Attributes:
        name: The rule's, one of :data:`kdopt.advice.policies.RULES`.
        label: How people read it.
        action: What it advises.
        tried: What it would try and keep only where validation rises.
        members: The finished pairs that this rests on, as positions in the training set.
    """

    name: str
    label: str
    action: Action
    tried: Action
    members: tuple[int, ...]


class Advice(NamedTuple):
    """What to do with a pair, why, and what to expect of it.

    Attributes:
        lead: The rule that is followed, and what it says.
        rules: All rules, the simplest first.
        expected: Of following the advice.
        anyway: Of the tree's best way to distil, where the advice is not to.
        leaf: Where the pair ends in the tree.
        path: The answers that led there.
        left_out: What was left out to judge the rules.
        regrets: How they did (see :func:`kdopt.advice.regret.compare_policies`).
        names: The features of the pair that the tree could use.
        outside: Features beyond what was seen: (value, least seen, greatest seen).
        nearest: The most similar finished pairs.
        training_set: What was learnt from.
    """

    lead: RuleChoice
    rules: list[RuleChoice]
    expected: Expected
    anyway: Expected | None
    leaf: Leaf
    path: list[Answer]
    left_out: LeftOut
    regrets: pd.DataFrame
    names: tuple[str, ...]
    outside: Mapping[str, tuple[float, float, float]]
    nearest: list[SimilarPair]
    training_set: TrainingSet


def has_enough_pairs(training_set: TrainingSet) -> bool:
    """Whether a training set is large enough for advice that can be judged."""
    return (
        len(training_set) >= MIN_TRAINING_PAIRS
        and training_set.n_partitions >= MIN_TRAINING_PARTITIONS
    )


def check_training_set_size(training_set: TrainingSet) -> None:
    """Refuse a training set that is too small for advice that can be judged.

    Raises:
        AdviceError: It is; the message says what there is and what it takes.
    """
    if not has_enough_pairs(training_set):
        notes = training_set.left_out
        why = f" (left out: {'; '.join(notes)})" if notes else ""
        raise AdviceError(
            f"too little to learn from: {format_count(len(training_set), 'finished case')} of "
            f"{format_count(training_set.n_partitions, 'partition')}{why}; an "
            f"advice takes {MIN_TRAINING_PAIRS} of {MIN_TRAINING_PARTITIONS} partitions, so that "
            "it can be judged on one that it does not know. Run a campaign with the grid sampler "
            "and more partitions, such as studies/fashion-advice.toml"
        )


def advise_pair(
    training_set: TrainingSet, features: Mapping[str, float], partition: str | None = None
) -> Advice:
    """Advise on a pair.

    Args:
        training_set: Finished pairs of the situation, without the pair itself.
        features: What is known of it, by name (see :mod:`kdopt.features.definitions`); NaN or
            absent where it is not known.
        partition: Its partition's family, if that is known.

    Raises:
        AdviceError: Finished pairs or features are too few for advice that can be judged.
    """
    usable = training_set.usable_features
    names = tuple(n for n in usable if math.isfinite(features.get(n, math.nan)))
    check_training_set_size(training_set)
    if not names:
        given = ", ".join(k for k, v in features.items() if math.isfinite(v)) or "nothing"
        raise AdviceError(
            f"nothing to go by: of this pair {given} is known, but of the finished ones "
            f"{', '.join(usable) or 'nothing that tells them apart'}"
        )
    known = set(training_set.pairs["family"])
    left_out: LeftOut = "participant" if partition in known else "partition"
    policies = {p.name: p for p in list_policies(training_set, names) if p.name in RULES}
    leaf, path = grow_tree(training_set, names).find_leaf(features)
    rules = [_apply_rule(policies[name], training_set, leaf) for name in RULES if name in policies]
    regrets = compare_policies(training_set, left_out, names)
    lead = next(r for r in rules if r.name == str(regrets.loc[regrets["leads"], "policy"].iloc[0]))
    anyway = None
    if lead.action in (DO_NOTHING, TRAIN_ON):
        tree = policies[TREE_POLICY]
        anyway = _forecast_action(
            training_set, leaf.distil, leaf.members, tree, left_out, tried=True
        )
    return Advice(
        lead,
        rules,
        _forecast_action(training_set, lead.action, lead.members, policies[lead.name], left_out),
        anyway,
        leaf,
        path,
        left_out,
        regrets,
        names,
        _find_features_outside(training_set, names, features),
        _find_similar_pairs(
            training_set, names, features, anyway.action if anyway else lead.action
        ),
        training_set,
    )


def _apply_rule(rule: Policy, training_set: TrainingSet, leaf: Leaf) -> RuleChoice:
    if rule.name == TREE_POLICY:
        return RuleChoice(rule.name, rule.label, leaf.action, leaf.distil, leaf.members)
    # It says the same for every pair, so any will do to ask it.
    choices = rule.choose(training_set, training_set.select_pairs(np.arange(1)))
    advised, tried = (training_set.actions[int(i[0])] for i in choices[:2])
    return RuleChoice(rule.name, rule.label, advised, tried, tuple(range(len(training_set))))


def _forecast_action(
    training_set: TrainingSet,
    action: Action,
    members: Sequence[int],
    policy: Policy,
    left_out: LeftOut,
    tried: bool = False,
) -> Expected:
    if action == DO_NOTHING:
        return Expected(action, NO_GAIN, NO_GAIN)
    rests_on = np.isin(np.arange(len(training_set)), members)[None]
    promise = make_promise(training_set, np.array([training_set.actions.index(action)]), rests_on)
    found = calibrate(training_set, policy.choose, left_out, tried)
    gain = _make_forecast(float(promise.gain[0]), found.gain)
    if action == TRAIN_ON:
        return Expected(action, gain, NO_GAIN)
    return Expected(action, gain, _make_forecast(float(promise.net[0]), found.net))


def _make_forecast(value: float, found: Calibration) -> Forecast:
    low, high = value - found.reach, value + found.reach
    return Forecast(value, low, high, PROMISED_SHARE, found.held, found.bias, found.error)


def _find_features_outside(
    training_set: TrainingSet, names: Sequence[str], features: Mapping[str, float]
) -> dict[str, tuple[float, float, float]]:
    seen = training_set.pairs
    ranges = {name: (seen[name].min(), seen[name].max()) for name in names}
    return {
        name: (features[name], float(low), float(high))
        for name, (low, high) in ranges.items()
        if not low <= features[name] <= high
    }


def _find_similar_pairs(
    training_set: TrainingSet, names: Sequence[str], features: Mapping[str, float], action: Action
) -> list[SimilarPair]:
    seen = training_set.get_features(names)
    here = np.array([features[name] for name in names])
    # In standard deviations, so that no feature counts for more because of its unit.
    distances = np.square((seen - here) / seen.std(axis=0)).sum(axis=1)
    index = training_set.actions.index(action)
    lines = training_set.pairs.to_dict("records")
    return [
        SimilarPair(
            str(lines[i]["campaign"]),
            Pair(str(lines[i]["partition"]), int(lines[i]["teacher"]), int(lines[i]["student"])),
            str(lines[i]["transfer_set"]),
            float(training_set.test[i, index]),
        )
        for i in np.argsort(distances, kind="stable")[:N_SIMILAR_PAIRS]
    ]
