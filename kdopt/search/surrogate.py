"""The surrogate: a model of pairs' results, fitted to a prior, that predicts those of a new pair.

A result is four outputs (:class:`kdopt.search.prior.PointResult`). Each of them at each point
``x``, for pair ``p`` and on the scale of :func:`kdopt.search.posterior.scale_results`, is taken as

    mean(x) + sum over k of c_k(p) * w_k(x) + e(p, x)

``w_k`` are the leading principal components of the prior's pairs, over all four outputs at once.
Each ``c_k`` is a Gaussian process over pairs: two pairs are similar as far as their features are,
more so if they share the student, or the teacher. How much each of the three counts is chosen for
every ``k`` by leave-one-out predictive likelihood (Rasmussen and Williams, 2006, section 5.4.2).
``e`` is the residual, independent from point to point: the luck of a run and what few pairs share.

Pairs with results at a few points only count as well: their gains narrow the ``c_k`` of others.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdopt.search.posterior import Posterior, scale_results, squash_gain
from kdopt.search.prior import MIN_PRIOR_PAIRS, PairResults, Prior

COMPONENTS = 16
"""Most principal components; what the others explain goes into the residual."""

FEATURE_SCALE = 1.5
"""Length scale of the similarity by features, in standard deviations of the prior's pairs."""

SHARES = tuple(
    shares
    for shares in product((0.0, 0.2, 0.4, 0.6, 0.8), (0.0, 0.2, 0.4, 0.6), (0.0, 0.15, 0.3))
    if sum(shares) < 1
)
"""Candidates for how a component's variance splits between features, student and teacher; the rest
is the pair's own."""

MAX_OTHER_RESULTS = 800
"""Most results of pairs outside the prior that are used, those of the most similar pairs: time
grows with the third power of their number and memory with the second. Ten participants have 640
when each pair has 8 trials."""

NUGGET = 1e-3
"""Added to variances, and the least spread of an output: no division by zero for equal pairs."""

SCORE_DECIMALS = 6
"""Digits of likelihoods and similarities that may decide: the last bits differ between machines."""


class _Component(NamedTuple):
    """One ``c_k``, fitted to the prior's pairs.

    Attributes:
        shares: Its entry of :data:`SHARES`.
        variance: Its variance over pairs.
        precision: Inverse of the pairs' correlations, (pairs, pairs).
        weights: Precision times the pairs' coefficients, (pairs,).
    """

    shares: tuple[float, ...]
    variance: float
    precision: NDArray[np.float64]
    weights: NDArray[np.float64]


class Surrogate:
    """The model, fitted to a prior.

    Args:
        prior: At least :data:`kdopt.search.prior.MIN_PRIOR_PAIRS` pairs.
    """

    def __init__(self, prior: Prior) -> None:
        if len(prior.pairs) < MIN_PRIOR_PAIRS:
            n = len(prior.pairs)
            raise ValueError(f"a prior needs {MIN_PRIOR_PAIRS} pairs, and this one has {n}")
        self.points = prior.points
        self._index = {point: i for i, point in enumerate(prior.points)}
        self._pairs = prior.pairs
        features = np.array([pair.features for pair in prior.pairs], dtype=np.float64)
        self._centre, self._spread = _find_centre_and_spread(features)
        # (pairs, outputs, points)
        results = np.array(
            [scale_results(pair.results[p] for p in prior.points).T for pair in prior.pairs]
        )
        # Every output weighs as much as the gain: none may drown the others.
        spreads = results.std(axis=(0, 2))
        self._weights = np.repeat(spreads[0] / np.maximum(spreads, NUGGET), len(prior.points))
        values = results.reshape(len(results), -1) * self._weights
        self._mean = values.mean(axis=0)
        centred = values - self._mean
        # Centred pairs have one degree of freedom less; one more is left for the residual.
        rank = min(COMPONENTS, len(values) - 2, values.shape[1])
        self._axes = np.linalg.svd(centred, full_matrices=False)[2][:rank]
        coefficients = centred @ self._axes.T
        residual = centred - coefficients @ self._axes
        self._noise = (residual**2).sum(axis=0) / max(1, len(values) - rank) + NUGGET
        similarity = self._compute_similarity(prior.pairs, prior.pairs)
        self._components = _fit_components(similarity, coefficients)

    def compute_posterior(self, pair: PairResults, others: Sequence[PairResults] = ()) -> Posterior:
        """The posterior of a pair before its first trial.

        Args:
            pair: Its features, and whose weights it shares; its results are not used.
            others: Pairs outside the prior, with what was measured of each; if they have more than
                :data:`MAX_OTHER_RESULTS` results, the most similar pairs count.
        """
        others = self._pick_most_similar(pair, others)
        mean, covariance = self._predict_coefficients([pair, *others])
        axes = self._axes
        start = self._mean + mean[:, 0] @ axes
        spread = (axes.T * covariance[:, 0, 0]) @ axes + np.diag(self._noise)
        owner, where, gains = self._list_gains(others)
        if not len(owner):
            return self._make_posterior(start, spread)
        # Gaussian conditioning on the gains of the others, which are weighted sums of the c_k:
        # subscripts are k for components, a and b for gains, x for the pair's own outputs.
        known = axes[:, where]
        among = np.einsum("ka,kb,kab->ab", known, known, covariance[:, owner[:, None], owner])
        among += np.diag(self._noise[where])
        across = np.einsum("kx,ka,ka->xa", axes, known, covariance[:, 0, owner])
        weights = np.linalg.solve(among, across.T).T
        expected = self._mean[where] + np.einsum("ka,ka->a", known, mean[:, owner])
        return self._make_posterior(
            start + weights @ (gains - expected), spread - weights @ across.T
        )

    def _pick_most_similar(
        self, pair: PairResults, others: Sequence[PairResults]
    ) -> Sequence[PairResults]:
        """As many of the others as have no more results than are used, in their own order."""
        # Only results at the prior's points can be used; a search goes on between them.
        counts = np.array(
            [sum(p in self._index for p in other.results) for other in others], dtype=np.int64
        )
        if counts.sum() <= MAX_OTHER_RESULTS:
            return others
        similarity = self._compute_similarity([pair], others)
        shared = sum(
            part.variance * _mix_similarity(part.shares, similarity)[0] for part in self._components
        )
        # Rounded and stable: pairs that are equally similar stay in their fixed order.
        order = np.argsort(-np.round(shared, SCORE_DECIMALS), kind="stable")
        total = np.cumsum(counts[order])
        return [others[i] for i in sorted(order[total <= MAX_OTHER_RESULTS])]

    def _make_posterior(
        self, mean: NDArray[np.float64], covariance: NDArray[np.float64]
    ) -> Posterior:
        """Takes the weights off the outputs again."""
        weights = self._weights
        return Posterior(self.points, mean / weights, covariance / np.outer(weights, weights))

    def _predict_coefficients(
        self, pairs: Sequence[PairResults]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean (k, pairs) and covariance (k, pairs, pairs) of the ``c_k`` of new pairs."""
        among = self._compute_similarity(pairs, pairs)
        to_prior = self._compute_similarity(pairs, self._pairs)
        means, covariances = [], []
        for part in self._components:
            cross = _mix_similarity(part.shares, to_prior)
            own = _mix_similarity(part.shares, among) + (1 - sum(part.shares)) * np.eye(len(pairs))
            means.append(cross @ part.weights)
            covariances.append(part.variance * (own - cross @ part.precision @ cross.T))
        return np.array(means), np.array(covariances)

    def _list_gains(
        self, others: Sequence[PairResults]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Every gain of the others: whose it is (from 1 on), at which point, and the gain."""
        found = [
            (number, self._index[point], result.gain)
            for number, other in enumerate(others, start=1)
            # Sorted: sums over gains must not depend on the order of the trials.
            for point, result in sorted(other.results.items())
            if point in self._index
        ]
        owner = np.array([f[0] for f in found], dtype=np.int64)
        where = np.array([f[1] for f in found], dtype=np.int64)
        return owner, where, squash_gain([f[2] for f in found])

    def _compute_similarity(
        self, some: Sequence[PairResults], others: Sequence[PairResults]
    ) -> list[NDArray[np.float64]]:
        """Similarity in [0, 1] by features, by student and by teacher, each (some, others)."""
        a, b = (self._standardize_features(pairs) for pairs in (some, others))
        distance = ((a[:, None] - b[None]) ** 2).mean(axis=2)
        parts = [
            np.exp(-0.5 * distance / FEATURE_SCALE**2),
            _compare_names([p.student for p in some], [p.student for p in others]),
            _compare_names([p.teacher for p in some], [p.teacher for p in others]),
        ]
        if some is others:
            for part in parts:
                # A pair shares its models with itself, also where they have no name.
                np.fill_diagonal(part, 1.0)
        return parts

    def _standardize_features(self, pairs: Sequence[PairResults]) -> NDArray[np.float64]:
        features = np.array([pair.features for pair in pairs], dtype=np.float64)
        # An unknown feature counts as the mean one.
        return np.nan_to_num((features - self._centre) / self._spread)


def _fit_components(
    similarity: Sequence[NDArray[np.float64]], coefficients: NDArray[np.float64]
) -> list[_Component]:
    """For every component the shares of greatest leave-one-out likelihood.

    Args:
        similarity: By features, student and teacher, each (pairs, pairs).
        coefficients: Of the prior's pairs, (pairs, components).
    """
    n, rank = coefficients.shape
    best: list[tuple[float, _Component] | None] = [None] * rank
    for shares in SHARES:
        correlations = _mix_similarity(shares, similarity) + (1 - sum(shares)) * np.eye(n)
        precision = np.linalg.inv(correlations).astype(np.float64)
        weights = precision @ coefficients
        # Leave-one-out in closed form: the inverse variance of each pair given all others. The
        # variance of the component is the one of greatest likelihood for these shares.
        alone = np.diag(precision)[:, None]
        variance = (weights**2 / alone).mean(axis=0) + NUGGET**2
        # Rounded: shares that are equally likely up to the last bits must not be chosen by these.
        score = np.round(0.5 * np.log(alone).sum() - 0.5 * n * np.log(variance), SCORE_DECIMALS)
        for k in range(rank):
            leader = best[k]
            if leader is None or score[k] > leader[0]:
                part = _Component(shares, float(variance[k]), precision, weights[:, k].copy())
                best[k] = (float(score[k]), part)
    return [found[1] for found in best if found is not None]


def _mix_similarity(
    shares: Sequence[float], parts: Sequence[NDArray[np.float64]]
) -> NDArray[np.float64]:
    mixed: NDArray[np.float64] = np.zeros_like(parts[0])
    for share, part in zip(shares, parts, strict=True):
        mixed += share * part
    return mixed


def _compare_names(some: Sequence[str], others: Sequence[str]) -> NDArray[np.float64]:
    """1 where two names are equal, else 0; an empty name equals no other."""
    return np.array([[float(a == b != "") for b in others] for a in some], dtype=np.float64)


def _find_centre_and_spread(
    features: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each feature over the pairs that have it."""
    known = np.isfinite(features)
    count = np.maximum(known.sum(axis=0), 1)
    centre = np.where(known, features, 0).sum(axis=0) / count
    spread = np.sqrt((np.where(known, features - centre, 0) ** 2).sum(axis=0) / count)
    return centre, np.where(spread > 0, spread, 1.0)
