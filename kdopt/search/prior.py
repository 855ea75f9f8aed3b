"""What finished pairs gained at the same points, and the prior that a campaign learns from.

A prior is a plain table of pairs. It is written once, when a campaign is planned, and never changes
after that, so the same campaign learns the same from it in any worker.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, NamedTuple

from kdopt.campaign.plain import load_json
from kdopt.campaign.settings import Campaign
from kdopt.campaign.studies import Params
from kdopt.errors import ArtifactError, KdoptError
from kdopt.features.definitions import OUTCOME_FEATURES, describe_pair
from kdopt.outcome import Outcome, Pair, TrialRow, find_pretrained
from kdopt.shown import format_count, shorten

Point = tuple[float, float]
"""Temperature and alpha."""

PRIOR_FEATURES = tuple(feature.name for feature in OUTCOME_FEATURES)
"""The features that every pair has before it is distilled: the pre-training outcomes give them."""

RESULT_COLUMNS = ("gain", "learnt", "forgotten", "loss")
"""What a stored prior calls the numbers of a :class:`PointResult`, in order."""

MIN_PRIOR_PAIRS = 12
"""Fewest pairs of a prior: means and variances over fewer are mostly noise."""

PP_DECIMALS = 2
"""Digits that are kept of numbers in pp. They are shares of a few hundred images."""

NAT_DECIMALS = 3
"""Digits that are kept of losses, and of features."""

STUDIES_PRIOR, WIDE_PRIOR = "shipped.json", "wide.json"
"""The parts of the prior that comes with kdopt: pairs of two campaigns of ``studies/``, and pairs
of many other partitions (``scripts/wide_grids.py``)."""


class PointResult(NamedTuple):
    """What one point did to the student.

    Four numbers tell more of a pair than one: two points of equal gain may lie on either side of
    the best one.

    Attributes:
        gain: The objective of tuning, pp.
        learning: Mean over classes of the rises of accuracy on validation, pp, >= 0.
        forgetting: Mean over classes of the falls, pp, >= 0.
        loss: Change of the cross-entropy on validation, nats.
    """

    gain: float
    learning: float
    forgetting: float
    loss: float


@dataclass(frozen=True)
class PairResults:
    """A pair's features and what was measured of it so far.

    Attributes:
        teacher: The sha256 of the teacher's weights; empty for a model that no other pair has.
        student: The same of the student.
        features: The numbers of :data:`PRIOR_FEATURES`, NaN where one is not known.
        results: The result of each point that was measured.
    """

    teacher: str
    student: str
    features: tuple[float, ...]
    results: Mapping[Point, PointResult]


@dataclass(frozen=True)
class Prior:
    """Pairs that were measured at the same points.

    Attributes:
        source: Where they are from, for people.
        t2_scale: Whether their teacher's term was multiplied by temperature squared; without it
            the same point means something else.
        points: The points that every pair has, in a fixed order.
        pairs: The pairs.
    """

    source: str
    t2_scale: bool
    points: tuple[Point, ...]
    pairs: tuple[PairResults, ...]

    def to_bytes(self) -> bytes:
        """JSON, one line per pair; :meth:`from_bytes` reads it back."""
        # Campaigns name their prior by the sha256 of these bytes: the same prior must give the
        # same bytes in every version.
        head = {
            "source": self.source,
            "t2_scale": self.t2_scale,
            "features": PRIOR_FEATURES,
            "results": RESULT_COLUMNS,
            "points": self.points,
        }
        lines = [
            json.dumps(
                {
                    "teacher": pair.teacher,
                    "student": pair.student,
                    "features": [None if math.isnan(f) else f for f in pair.features],
                    "results": [pair.results[point] for point in self.points],
                },
                separators=(",", ":"),
            )
            for pair in self.pairs
        ]
        return (json.dumps(head)[:-1] + ',\n"pairs": [\n' + ",\n".join(lines) + "\n]}\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Prior:
        """Read what :meth:`to_bytes` wrote.

        Raises:
            ArtifactError: It is no prior, or has numbers that are not finite.
            KdoptError: A version wrote it that kept other numbers of each pair.
        """
        try:
            record = load_json(content)
            found = (*record["features"], *record["results"])
            about = f"of '{record['source']}' describes pairs by {', '.join(found)}"
        except (ValueError, TypeError, KeyError) as error:
            raise ArtifactError(f"not a prior ({error!r:.100})") from error
        wanted = PRIOR_FEATURES + RESULT_COLUMNS
        if found != wanted:
            raise KdoptError(
                f"the prior {shorten(about, 500)}; this version of kdopt by {', '.join(wanted)}. "
                "Go on with the version that planned the campaign"
            )
        try:
            prior = cls._from_record(record)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ArtifactError(f"not a prior ({error!r:.100})") from error
        if not prior.points or not prior.pairs:
            raise ArtifactError("a prior without points or pairs")
        return prior

    @classmethod
    def _from_record(cls, record: Mapping[str, Any]) -> Prior:
        points = tuple((_read_number(t), _read_number(a)) for t, a in record["points"])
        pairs = tuple(
            PairResults(
                str(pair["teacher"]),
                str(pair["student"]),
                tuple(
                    math.nan if f is None else _read_number(f)
                    for _, f in zip(PRIOR_FEATURES, pair["features"], strict=True)
                ),
                {
                    point: PointResult(*map(_read_number, result))
                    for point, result in zip(points, pair["results"], strict=True)
                },
            )
            for pair in record["pairs"]
        )
        return cls(str(record["source"]), record["t2_scale"] is True, points, pairs)


def _read_number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r:.50} where a finite number should be")
    return float(value)


def load_shipped_prior(parts: Sequence[str] = (STUDIES_PRIOR, WIDE_PRIOR)) -> Prior:
    """The prior that comes with kdopt, or parts of it; its source names their campaigns."""
    read = [Prior.from_bytes(files(__package__).joinpath(part).read_bytes()) for part in parts]
    return replace(
        read[0],
        source=", ".join(prior.source for prior in read),
        pairs=tuple(pair for prior in read for pair in prior.pairs),
    )


def build_prior(campaigns: Sequence[tuple[Campaign, Mapping[Pair, PairResults]]]) -> Prior:
    """The pairs of some campaigns with a finished grid, at the points that all campaigns have.

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
    grids = [list_grid_points(campaign) for campaign, _ in campaigns]
    points = tuple(p for p in grids[0] if all(p in grid for grid in grids))
    pairs = tuple(
        PairResults(pair.teacher, pair.student, pair.features, {p: pair.results[p] for p in points})
        for _, known in campaigns
        for pair in known.values()
        if points and all(p in pair.results for p in points)
    )
    if len(pairs) < MIN_PRIOR_PAIRS:
        raise KdoptError(
            f"tune.prior = {names}: {format_count(len(pairs), 'pair has', 'pairs have')} a "
            f"finished grid ({format_count(len(points), 'point is', 'points are')} common to "
            f"all), and a prior needs {MIN_PRIOR_PAIRS}; finish these campaigns, name others, or "
            "leave tune.prior out for the prior that comes with kdopt"
        )
    return Prior(names, scales.pop(), points, pairs)


def collect_pair_results(rows: Iterable[TrialRow]) -> dict[Pair, PairResults]:
    """Every pair with pre-trained participants and a tune trial of any state, in sorted order.

    Pairs whose teacher was not scored on validation are left out: nothing is similar to them.
    """
    rows = list(rows)
    pretrained = find_pretrained(rows)
    trials: dict[Pair, list[TrialRow]] = defaultdict(list)
    for row in rows:
        if row.stage == "tune" and row.pair is not None and row.method is None:
            trials[row.pair].append(row)
    scored = {key for key, outcome in pretrained.items() if outcome.validation.images != 0}
    return {
        pair: make_pair_results(
            pretrained[pair.partition, pair.teacher],
            pretrained[pair.partition, pair.student],
            collect_point_results(tried),
        )
        for pair, tried in sorted(trials.items())
        if {(pair.partition, pair.teacher), (pair.partition, pair.student)} <= scored
    }


def make_pair_results(
    teacher: Outcome, student: Outcome, results: Mapping[Point, PointResult]
) -> PairResults:
    """A pair by the pre-training outcomes of both and what was measured of it."""
    features = describe_pair(teacher.validation, student.validation)
    return PairResults(
        teacher.checkpoint or "",
        student.checkpoint or "",
        tuple(round(features[name], NAT_DECIMALS) for name in PRIOR_FEATURES),
        results,
    )


def collect_point_results(trials: Iterable[TrialRow]) -> dict[Point, PointResult]:
    """The result of each point of one pair's complete trials; replicates are averaged.

    A point with a number that is not finite (weights can overflow in the last step of a training)
    is left out.
    """
    outcomes: dict[Point, list[Outcome]] = defaultdict(list)
    # By number: the mean of replicates must not depend on the order of the rows.
    for row in sorted(trials, key=lambda row: row.number):
        if row.outcome is not None:
            outcomes[get_point(row.params)].append(row.outcome)
    results = {point: average_outcomes(found) for point, found in outcomes.items()}
    return {p: result for p, result in results.items() if all(map(math.isfinite, result))}


def average_outcomes(outcomes: Sequence[Outcome]) -> PointResult:
    """The mean result of a point's replicates.

    The record of a trial may lack the scores of the student before it. Its gain is all that is
    known then, and the other numbers are those of a student whose classes all moved by the gain.
    """
    each = [_summarize_outcome(outcome) for outcome in outcomes]
    means = [math.fsum(values) / len(each) for values in zip(*each, strict=True)]
    digits = (PP_DECIMALS, PP_DECIMALS, PP_DECIMALS, NAT_DECIMALS)
    return PointResult(*(round(m, d) for m, d in zip(means, digits, strict=True)))


def get_point(params: Params) -> Point:
    """Temperature and alpha of a tune trial's parameters."""
    return float(params["temperature"]), float(params["alpha"])


def list_grid_points(campaign: Campaign) -> tuple[Point, ...]:
    """All combinations of a campaign's temperatures and alphas."""
    return tuple((t, a) for t in campaign.tune.temperatures for a in campaign.tune.alphas)


def _summarize_outcome(outcome: Outcome) -> PointResult:
    before, after = outcome.validation_before, outcome.validation
    if before is None:
        return PointResult(outcome.value, max(0.0, outcome.value), max(0.0, -outcome.value), 0.0)
    moves = [
        100 * (b - a)
        for a, b in zip(before.per_class, after.per_class, strict=True)
        if a is not None and b is not None
    ]
    n = max(1, len(moves))
    learning = math.fsum(max(0.0, m) for m in moves) / n
    forgetting = math.fsum(max(0.0, -m) for m in moves) / n
    return PointResult(outcome.value, learning, forgetting, after.loss - before.loss)
