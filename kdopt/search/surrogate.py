"""What finished pairs teach about the gains of a new one.

A result is four numbers (``kdopt.search.prior.Result``). Each of them at each point ``x``, for pair
``p`` and on the scale of ``kdopt.search.scale``, is taken as

    mean(x) + sum over k of c_k(p) * w_k(x) + e(p, x)

``w_k`` are the leading principal surfaces of the prior's pairs, over all four at once. Each ``c_k``
is a Gaussian process over pairs: two pairs are alike as far as their features are, more so if they
share the student, or the teacher. How much each of the three counts is chosen for every ``k`` by
leave-one-out predictive likelihood (Rasmussen and Williams, 2006, section 5.4.2). ``e`` is what is
left: the luck of a run and what few pairs have, independent from point to point.

Pairs that were tried at a few points only teach as well: their gains narrow the ``c_k`` of others.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from kdopt.search.posterior import Belief
from kdopt.search.prior import KnownPair, Prior
from kdopt.search.scale import Floats, outputs, squash

MIN_PAIRS = 12
"""Pairs below which nothing is learnt: means and shares of fewer are mostly noise."""

COMPONENTS = 16
FEATURE_SCALE = 1.5
"""Standard deviations over which pairs stop being alike."""

SHARES = tuple(
    shares
    for shares in product((0.0, 0.2, 0.4, 0.6, 0.8), (0.0, 0.2, 0.4, 0.6), (0.0, 0.15, 0.3))
    if sum(shares) < 1
)
"""How much of a component's variance goes with the features, the student and the teacher."""

MOST_RESULTS = 800
"""Results of pairs outside the prior that a belief heeds, those of the pairs most alike: time grows
with the third power of their number and memory with the second. Ten participants have 640 when
each pair has 8 trials."""

NUGGET = 1e-3
SCORE_DECIMALS = 6


class _Component(NamedTuple):
    """One ``c_k`` as the prior's pairs show it."""

    shares: tuple[float, ...]
    variance: float
    precision: Floats  # inverse of the pairs' correlations
    weights: Floats  # precision times the pairs' coefficients


class Surfaces:
    """The model, fitted to a prior.

    Args:
        prior: At least :data:`MIN_PAIRS` pairs.
    """

    def __init__(self, prior: Prior) -> None:
        if len(prior.pairs) < MIN_PAIRS:
            raise ValueError(f"{len(prior.pairs)} pairs teach nothing; {MIN_PAIRS} are needed")
        self.points = prior.points
        self._index = {point: i for i, point in enumerate(prior.points)}
        self._pairs = prior.pairs
        features = np.array([pair.features for pair in prior.pairs], dtype=np.float64)
        self._centre, self._spread = _centre_and_spread(features)
        told = np.array([_surface(pair, prior) for pair in prior.pairs])
        # Every output weighs as much as the gain: none may drown the others.
        spreads = told.std(axis=(0, 2))
        self._weights = np.repeat(spreads[0] / np.maximum(spreads, NUGGET), len(prior.points))
        values = told.reshape(len(told), -1) * self._weights
        self._mean = values.mean(axis=0)
        rest = values - self._mean
        rank = min(COMPONENTS, len(values) - 2, values.shape[1])
        self._axes = np.linalg.svd(rest, full_matrices=False)[2][:rank]
        coefficients = rest @ self._axes.T
        left = rest - coefficients @ self._axes
        self._own = (left**2).sum(axis=0) / max(1, len(values) - rank) + NUGGET
        self._components = _fit(self._likeness(prior.pairs, prior.pairs), coefficients)

    def belief(self, pair: KnownPair, others: Sequence[KnownPair] = ()) -> Belief:
        """What is believed of a pair before it is tried.

        Args:
            pair: Its features and who its teacher and student are; its results are not looked at.
            others: Pairs outside the prior, with what was measured of each; of many, those most
                alike count (:data:`MOST_RESULTS`).
        """
        others = self._most_alike(pair, others)
        everyone = [pair, *others]
        mean, covariance = self._coefficients(everyone)
        axes = self._axes
        start = self._mean + mean[:, 0] @ axes
        spread = (axes.T * covariance[:, 0, 0]) @ axes + np.diag(self._own)
        who, where, gains = self._results(others)
        if not len(who):
            return self._belief(start, spread)
        known = axes[:, where]
        among = np.einsum("ka,kb,kab->ab", known, known, covariance[:, who[:, None], who])
        among += np.diag(self._own[where])
        across = np.einsum("kx,ka,ka->xa", axes, known, covariance[:, 0, who])
        pull = np.linalg.solve(among, across.T).T
        expected = self._mean[where] + np.einsum("ka,ka->a", known, mean[:, who])
        return self._belief(start + pull @ (gains - expected), spread - pull @ across.T)

    def _most_alike(self, pair: KnownPair, others: Sequence[KnownPair]) -> Sequence[KnownPair]:
        """As many of the others as have no more results than are heeded, in their own order."""
        # Only results at the prior's points say anything; a search goes on between them.
        counts = np.array(
            [sum(p in self._index for p in other.results) for other in others], dtype=np.int64
        )
        if counts.sum() <= MOST_RESULTS:
            return others
        likeness = self._likeness([pair], others)
        shared = sum(part.variance * _mixed(part.shares, likeness)[0] for part in self._components)
        order = np.argsort(-np.round(shared, SCORE_DECIMALS), kind="stable")
        upto = np.cumsum(counts[order])
        return [others[i] for i in sorted(order[upto <= MOST_RESULTS])]

    def _belief(self, mean: Floats, covariance: Floats) -> Belief:
        """Back from weighted outputs to the outputs themselves."""
        weights = self._weights
        return Belief(self.points, mean / weights, covariance / np.outer(weights, weights))

    def _coefficients(self, pairs: Sequence[KnownPair]) -> tuple[Floats, Floats]:
        """Mean (k, pairs) and covariance (k, pairs, pairs) of the ``c_k`` of new pairs."""
        own = self._likeness(pairs, pairs)
        to_prior = self._likeness(pairs, self._pairs)
        means, covariances = [], []
        for part in self._components:
            cross = _mixed(part.shares, to_prior)
            itself = _mixed(part.shares, own) + (1 - sum(part.shares)) * np.eye(len(pairs))
            means.append(cross @ part.weights)
            covariances.append(part.variance * (itself - cross @ part.precision @ cross.T))
        return np.array(means), np.array(covariances)

    def _results(self, others: Sequence[KnownPair]) -> tuple[np.ndarray, np.ndarray, Floats]:
        """Every measured point of the others: whose it is (from 1 on), which, and what came."""
        found = [
            (number, self._index[point], result.gain)
            for number, other in enumerate(others, start=1)
            for point, result in sorted(other.results.items())
            if point in self._index
        ]
        who = np.array([f[0] for f in found], dtype=np.int64)
        where = np.array([f[1] for f in found], dtype=np.int64)
        return who, where, squash([f[2] for f in found])

    def _likeness(self, some: Sequence[KnownPair], others: Sequence[KnownPair]) -> list[Floats]:
        """By features, by student and by teacher: how alike two lists of pairs are, in [0, 1]."""
        a, b = (self._scaled(pairs) for pairs in (some, others))
        distance = ((a[:, None] - b[None]) ** 2).mean(axis=2)
        parts = [
            np.exp(-0.5 * distance / FEATURE_SCALE**2),
            _same([p.student for p in some], [p.student for p in others]),
            _same([p.teacher for p in some], [p.teacher for p in others]),
        ]
        if some is others:
            for part in parts:
                np.fill_diagonal(part, 1.0)  # also of those who are like no other
        return parts

    def _scaled(self, pairs: Sequence[KnownPair]) -> Floats:
        features = np.array([pair.features for pair in pairs], dtype=np.float64)
        return np.nan_to_num((features - self._centre) / self._spread)  # not known: as usual


def _surface(pair: KnownPair, prior: Prior) -> Floats:
    """What came of a pair, (outputs, points)."""
    return outputs(pair.results[point] for point in prior.points).T


def _fit(likeness: Sequence[Floats], coefficients: Floats) -> list[_Component]:
    """For every column the shares of greatest leave-one-out likelihood, its scale profiled out."""
    n, rank = coefficients.shape
    best: list[tuple[float, _Component] | None] = [None] * rank
    for shares in SHARES:
        correlations = _mixed(shares, likeness) + (1 - sum(shares)) * np.eye(n)
        precision = np.linalg.inv(correlations).astype(np.float64)
        weights = precision @ coefficients
        alone = np.diag(precision)[:, None]  # inverse variance of each pair, given all others
        variance = (weights**2 / alone).mean(axis=0) + NUGGET**2
        # Rounded: shares that are alike up to the last bits must not be chosen by these.
        score = np.round(0.5 * np.log(alone).sum() - 0.5 * n * np.log(variance), SCORE_DECIMALS)
        for k in range(rank):
            leader = best[k]
            if leader is None or score[k] > leader[0]:
                part = _Component(shares, float(variance[k]), precision, weights[:, k].copy())
                best[k] = (float(score[k]), part)
    return [found[1] for found in best if found is not None]


def _mixed(shares: Sequence[float], parts: Sequence[Floats]) -> Floats:
    out: Floats = np.zeros_like(parts[0])
    for share, part in zip(shares, parts, strict=True):
        out += share * part
    return out


def _same(some: Sequence[str], others: Sequence[str]) -> Floats:
    """1 where two names are equal; an empty one is like no other."""
    return np.array([[float(a == b != "") for b in others] for a in some], dtype=np.float64)


def _centre_and_spread(features: Floats) -> tuple[Floats, Floats]:
    known = np.isfinite(features)
    count = np.maximum(known.sum(axis=0), 1)
    centre = np.where(known, features, 0).sum(axis=0) / count
    spread = np.sqrt((np.where(known, features - centre, 0) ** 2).sum(axis=0) / count)
    return centre, np.where(spread > 0, spread, 1.0)
