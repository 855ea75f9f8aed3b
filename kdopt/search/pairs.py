"""From trials to pairs: what a campaign knows of each of its pairs, and the prior that makes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from kdopt.campaign.settings import Campaign
from kdopt.campaign.studies import Params
from kdopt.errors import KdoptError
from kdopt.outcome import Outcome, TrialRow
from kdopt.search.prior import KnownPair, Point, Prior, Result, known_pair, result_of
from kdopt.search.surrogate import MIN_PAIRS

PairKey = tuple[str, int, int]
"""Partition, teacher, student."""


def known_pairs(rows: Iterable[TrialRow]) -> dict[PairKey, KnownPair]:
    """Every pair with pre-trained participants and a tune trial of any state, in fixed order."""
    trained: dict[tuple[str, int], Outcome] = {}
    tried: dict[PairKey, list[TrialRow]] = defaultdict(list)
    for row in rows:
        if row.stage == "pretrain" and row.outcome is not None:
            trained[row.partition, int(row.params["participant"])] = row.outcome
        elif row.stage == "tune" and row.teacher is not None and row.student is not None:
            tried[row.partition, row.teacher, row.student].append(row)
    return {
        (partition, teacher, student): known_pair(
            trained[partition, teacher], trained[partition, student], results_of(trials)
        )
        for (partition, teacher, student), trials in sorted(tried.items())
        if (partition, teacher) in trained and (partition, student) in trained
    }


def results_of(trials: Iterable[TrialRow]) -> dict[Point, Result]:
    """What came of each point of one pair's complete trials; replicates are averaged.

    A point with a number that is not finite (weights can overflow in the last step of a training)
    says nothing.
    """
    outcomes: dict[Point, list[Outcome]] = defaultdict(list)
    # By number: the mean of replicates must not depend on the order of the rows.
    for row in sorted(trials, key=lambda row: row.number):
        if row.outcome is not None:
            outcomes[point_of(row.params)].append(row.outcome)
    results = {point: result_of(found) for point, found in outcomes.items()}
    return {p: result for p, result in results.items() if all(map(math.isfinite, result))}


def point_of(cell: Params) -> Point:
    """The point of a tune trial's cell."""
    return float(cell["temperature"]), float(cell["alpha"])


def grid_points(campaign: Campaign) -> tuple[Point, ...]:
    """The points of a campaign's temperatures and alphas."""
    return tuple((t, a) for t in campaign.tune.temperatures for a in campaign.tune.alphas)


def prior_of(campaigns: Sequence[tuple[Campaign, Mapping[PairKey, KnownPair]]]) -> Prior:
    """What the full grids of some campaigns teach, at the points that all of these have.

    Raises:
        KdoptError: There is no such point, there are too few pairs, or the campaigns differ in
            what a point means.
    """
    names = ", ".join(campaign.name for campaign, _ in campaigns)
    scales = {campaign.tune.t2_scale for campaign, _ in campaigns}
    if len(scales) > 1:
        raise KdoptError(
            f"tune.prior = {names}: some multiply the teacher's term by T squared and some do "
            "not, so that a point means different things; name campaigns of one kind"
        )
    grids = [grid_points(campaign) for campaign, _ in campaigns]
    points = tuple(p for p in grids[0] if all(p in grid for grid in grids))
    pairs = tuple(
        KnownPair(pair.teacher, pair.student, pair.features, {p: pair.results[p] for p in points})
        for _, known in campaigns
        for pair in known.values()
        if points and all(p in pair.results for p in points)
    )
    if len(pairs) < MIN_PAIRS:
        raise KdoptError(
            f"tune.prior = {names}: {len(pairs)} pairs have a finished grid "
            f"({len(points)} points are common to all), and fewer than {MIN_PAIRS} teach nothing; "
            "finish these campaigns, name others, or leave tune.prior out for the prior that "
            "comes with kdopt"
        )
    return Prior(names, scales.pop(), points, pairs)
