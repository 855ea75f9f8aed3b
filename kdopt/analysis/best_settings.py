"""The best setting of every pair, and the whole temperature x alpha surface of one.

Paper, section IV-C and Fig. 3 (optimal-setting maps). Selection is on ``campaign.select_on``;
the test-selected best is given beside it as the *oracle*: it is optimistic by construction (the
greatest of many noisy draws on the very set that is reported), never an estimate.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pandas as pd

from kdopt.analysis.progress import measure_pair_progress
from kdopt.analysis.results import CampaignResults, GainName, PointMean, group_gains
from kdopt.analysis.stats import TIE_DECIMALS
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import TuneSettings
from kdopt.campaign.stages import compares_vanilla
from kdopt.outcome import Pair

BEST_COLUMNS = (
    "partition", "teacher", "student", "teacher_accuracy", "student_accuracy", "accuracy_gap",
    "validation_gap", "teacher_kind", "cells_done", "cells_failed", "cells_planned", "trials_done",
    "complete", "temperature", "alpha", "validation_gain", "test_gain", "test_gain_sd",
    "replicates", "control_validation_gain", "control_gain", "net_gain", "vanilla_validation_gain",
    "vanilla_gain", "net_vanilla_gain", "oracle_temperature", "oracle_alpha", "oracle_gain",
    "effective_kd_weight", "family",
)  # fmt: skip


_NO_POINT = PointMean(math.nan, math.nan, math.nan, math.nan, 0)


class Surface(NamedTuple):
    """All measured points of one pair.

    Attributes:
        points: The points as they are, sorted by temperature and alpha.
        temperatures: The T values of the grid, ascending; empty for samplers without one.
        alphas: The A values of the grid, ascending; empty for samplers without one.
        validation_gain: T x A gains in pp, ``None`` where nothing was measured.
        test_gain: The same on test.
    """

    points: list[PointMean]
    temperatures: list[float]
    alphas: list[float]
    validation_gain: list[list[float | None]]
    test_gain: list[list[float | None]]


def tabulate_best_settings(results: CampaignResults) -> pd.DataFrame:
    """One line per pair, ordered as the campaign lists partitions, then by teacher and student.

    ``family`` is the way of partitioning, which all draws of a partition share. Accuracies are test
    accuracies in percent, gaps and gains are pp, see
    :meth:`~kdopt.analysis.results.CampaignResults.describe_gap`.
    ``control_gain`` is what the same student gains without a teacher, ``net_gain`` what the best
    settings gain beyond it. Vanilla is a point like the others: the tuned study's, or where that
    has not run it, the one of stage ``compare``. ``effective_kd_weight`` is that of the best
    settings (:func:`compute_kd_weight`). Unknown numbers are NaN.
    Nothing in the table depends on wall time, on workers or on the order of the rows.
    """
    lines = [
        {
            **pair._asdict(),
            "family": results.campaign.get_family(pair.partition),
            **results.describe_gap(pair),
            **_describe_search(pair, results),
            **_describe_choice(results.points.get(pair, []), results),
            **_describe_control(pair, results),
        }
        for pair in results.pairs
    ]
    table = pd.DataFrame(lines, columns=list(BEST_COLUMNS))
    return table.assign(
        net_gain=table["test_gain"] - table["control_gain"],
        net_vanilla_gain=table["vanilla_gain"] - table["control_gain"],
        effective_kd_weight=[
            compute_kd_weight(temperature, alpha, results.campaign.tune.t2_scale)
            for temperature, alpha in zip(table["temperature"], table["alpha"], strict=True)
        ],
    )


def compute_kd_weight(temperature: float, alpha: float, t2_scale: bool) -> float:
    """The factor before the teacher's term of the loss, divided by that before the labels' term.

    ``alpha * T^2 / (1 - alpha)``, or ``alpha / (1 - alpha)`` without ``t2_scale``; infinite where
    alpha 1 leaves the labels out, NaN where a setting is NaN. At one temperature, losses of equal
    weight differ in a positive factor only, with ``t2_scale`` or without.
    """
    factor = alpha * (temperature**2 if t2_scale else 1.0)
    return math.inf if alpha == 1 else factor / (1 - alpha)


def rank_points(points: Iterable[PointMean], gain: GainName, tune: TuneSettings) -> list[PointMean]:
    """The points by gain, the best first: that of any subset is the first of it here.

    Only points with the most replicates compete: in a campaign that is not finished, the luck of
    a point measured once would win against the mean of one measured often.

    Among equal gains the point nearest to vanilla wins, so that a tie never moves the advice away
    from the default: smaller ``|log(T / T_vanilla)|``, then smaller ``|alpha - alpha_vanilla|``,
    then smaller temperature, then smaller alpha.
    """

    def key(point: PointMean) -> tuple[float, ...]:
        value: float = getattr(point, gain)
        return (
            -point.replicates,
            -round(value, TIE_DECIMALS),
            *rate_point(point.temperature, point.alpha, tune.vanilla_point),
        )

    return sorted(points, key=key)


@functools.lru_cache(maxsize=4096)  # each pair has the same points
def rate_point(
    temperature: float, alpha: float, vanilla: tuple[float, float]
) -> tuple[float, float, float, float]:
    """Sorts points of equal gain, as :func:`rank_points` says; the least wins."""
    return (
        round(abs(math.log(temperature / vanilla[0])), TIE_DECIMALS),
        round(abs(alpha - vanilla[1]), TIE_DECIMALS),
        temperature,
        alpha,
    )


def find_best_point(
    points: Iterable[PointMean], gain: GainName, tune: TuneSettings
) -> PointMean | None:
    """The point of greatest gain, the first of :func:`rank_points`; ``None`` without a point."""
    return next(iter(rank_points(points, gain, tune)), None)


def find_vanilla_point(points: Iterable[PointMean], tune: TuneSettings) -> PointMean | None:
    """The untuned point, if it was measured."""
    return next((p for p in points if (p.temperature, p.alpha) == tune.vanilla_point), None)


def map_surfaces(results: CampaignResults) -> dict[Pair, Surface]:
    """The surface of every pair, also of those without a complete point."""
    return {
        pair: _make_surface(results.points.get(pair, []), results.campaign)
        for pair in results.pairs
    }


def _make_surface(points: Sequence[PointMean], campaign: Campaign) -> Surface:
    if campaign.tune.sampler not in ("grid", "sequential"):
        return Surface(list(points), [], [], [], [])
    # A store may hold points of an earlier, larger grid: they are shown too.
    temperatures = sorted(
        {*map(float, campaign.tune.temperatures), *(p.temperature for p in points)}
    )
    alphas = sorted({*map(float, campaign.tune.alphas), *(p.alpha for p in points)})
    known = {(point.temperature, point.alpha): point for point in points}

    def matrix(gain: GainName) -> list[list[float | None]]:
        return [
            [getattr(known[t, a], gain) if (t, a) in known else None for a in alphas]
            for t in temperatures
        ]

    return Surface(
        list(points), temperatures, alphas, matrix("validation_gain"), matrix("test_gain")
    )


def _describe_search(pair: Pair, results: CampaignResults) -> dict[str, object]:
    """How far the pair's search is. Vanilla trials of ``compare`` are not counted here."""
    rows, campaign = results.tuned.get(pair, []), results.campaign
    progress = measure_pair_progress(rows, campaign)
    vanilla = find_vanilla_point(results.points.get(pair, []), campaign.tune)
    # The table's columns are exported: they keep the word cell for a point.
    return {
        "cells_done": progress.done,
        "cells_failed": progress.failed,
        "cells_planned": progress.planned,
        "trials_done": sum(map(len, group_gains(rows).values())),
        "complete": progress.complete and not _awaits_vanilla(vanilla, campaign),
    }


def _describe_choice(points: Sequence[PointMean], results: CampaignResults) -> dict[str, object]:
    """The selected, the vanilla and the oracle point."""
    gain, tune = results.selected_gain, results.campaign.tune
    best = find_best_point(points, gain, tune) or _NO_POINT
    oracle = find_best_point(points, "test_gain", tune) or _NO_POINT
    vanilla = find_vanilla_point(points, tune) or _NO_POINT
    return {
        **best._asdict(),
        "vanilla_validation_gain": vanilla.validation_gain,
        "vanilla_gain": vanilla.test_gain,
        "oracle_temperature": oracle.temperature,
        "oracle_alpha": oracle.alpha,
        "oracle_gain": oracle.test_gain,
    }


def _describe_control(pair: Pair, results: CampaignResults) -> dict[str, float]:
    control = results.measure_control(pair)
    return {"control_validation_gain": control.validation, "control_gain": control.test}


def _awaits_vanilla(vanilla: PointMean | None, campaign: Campaign) -> bool:
    """Whether stage ``compare`` still owes a search a candidate that it does not run itself."""
    if campaign.tune.sampler != "warm" or not compares_vanilla(campaign):
        return False
    return vanilla is None or vanilla.replicates < campaign.replicates
