"""What tuning gains: headline measures, where it pays, full grid against sequential search.

Everything here is about the best settings of the pairs
(:func:`kdopt.analysis.best_settings.tabulate_best_settings`).

An interval over participants says how far a conclusion depends on who took part. The luck of which
test images there are is another error: all pairs are judged on the same ones, so averaging over
pairs does not average it away. :func:`measure_image_errors` measures it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from kdopt.analysis.best_settings import find_best_point
from kdopt.analysis.method_gains import TEACHER_GROUPS, select_teachers
from kdopt.analysis.paired_test import compare_on_test, measure_image_error
from kdopt.analysis.results import (
    CampaignResults,
    GainName,
    PointMean,
    average_points,
    list_pairs,
    read_point,
)
from kdopt.analysis.stats import TIE_DECIMALS, Estimate, estimate_mean, estimate_share
from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import TuneSettings
from kdopt.campaign.stages import SEQUENTIAL_TEMPERATURE
from kdopt.outcome import Outcome, Pair

Contrasted = tuple[Callable[[Pair], Sequence[Outcome]], Callable[[Pair], Sequence[Outcome]]]
"""What is compared, and with what: the outcomes of a pair's replicates on either side."""

OVERALL = "all partitions"
EVERY_KIND = "all"
SUMMARY_COLUMNS = ("partition", "measure", "label", "unit", "value", "low", "high", "n")
PAYOFF_COLUMNS = (
    "partition", "teacher_kind", "n", "decided", "against", "against_share", "advised_gain",
    "advised_low", "advised_high", "advised_net_gain", "advised_net_low", "advised_net_high",
    "compared", "beats_vanilla", "tuning_effect", "effect_low", "effect_high",
)  # fmt: skip
PROTOCOL_COLUMNS = ("partition", "protocol", "trials", "test_gain", "low", "high", "same_cell", "n")
FULL_GRID, SEQUENTIAL, GRID_MINUS_SEQUENTIAL = "grid", "sequential (derived)", "grid - sequential"


class HeadlineMeasure(NamedTuple):
    """One headline number: its name, how people read it and its unit."""

    name: str
    label: str
    unit: str


def list_headline_measures(campaign: Campaign) -> list[HeadlineMeasure]:
    """The headline measures, labelled by the set that selected the points."""
    by = describe_selection(campaign)
    return [
        HeadlineMeasure("vanilla_gain", f"Vanilla ({describe_vanilla(campaign)})", "pp"),
        HeadlineMeasure("control_gain", "Control: trained on without a teacher", "pp"),
        HeadlineMeasure("test_gain", f"Tuned, {by}", "pp"),
        HeadlineMeasure("net_gain", "Tuned minus control: because of the teacher", "pp"),
        HeadlineMeasure("tuning_effect", "Tuned minus vanilla", "pp"),
        HeadlineMeasure("advised_gain", "Following the verdicts", "pp"),
        HeadlineMeasure("advised_net_gain", "Following the verdicts: because of the teacher", "pp"),
        HeadlineMeasure("oracle_gain", "Oracle, selected on test (optimistic)", "pp"),
        HeadlineMeasure("beats_vanilla", "Pairs where tuning beats vanilla on test", "%"),
        HeadlineMeasure("beats_control", "Pairs where tuning beats the control on test", "%"),
        HeadlineMeasure("advised_against", "Pairs not to distil, by the verdicts", "%"),
        HeadlineMeasure("trials_used", "Complete tune trials", "trials"),
    ]


def describe_selection(campaign: Campaign) -> str:
    """How the reported points were chosen; selection on test says that it is optimistic."""
    if campaign.select_on == "test":
        return "selected on test (optimistic)"
    return "selected on validation"


def describe_vanilla(campaign: Campaign) -> str:
    """The untuned setting as people read it."""
    return f"T={campaign.tune.vanilla_temperature:g}, alpha={campaign.tune.vanilla_alpha:g}"


def summarise_gains(best: pd.DataFrame, campaign: Campaign) -> pd.DataFrame:
    """One line per partition (and one set of lines over all) and measure.

    All measures of a scope are means over the same ``n`` pairs, those in which both the selected
    and the vanilla point are known, so that they can be compared. ``low`` and ``high`` bound the
    95 % interval, see :mod:`kdopt.analysis.stats`. The measure ``trials_used`` counts the complete
    tune trials of all pairs and has no interval.

    Args:
        best: From :func:`kdopt.analysis.best_settings.tabulate_best_settings`.
        campaign: The campaign of the table.
    """
    lines: list[tuple[object, ...]] = []
    for scope, table in split_by_scope(best):
        pairs = select_comparable(table)
        for measure in list_headline_measures(campaign):
            if measure.name == "trials_used":
                used = float(table["trials_done"].sum())
                lines.append((scope, *measure, used, math.nan, math.nan, len(table)))
                continue
            lines.append((scope, *measure, *_estimate_measure(pairs, measure.name)[:4]))
    return pd.DataFrame(lines, columns=list(SUMMARY_COLUMNS))


def tabulate_payoff(best: pd.DataFrame) -> pd.DataFrame:
    """One line per partition (and one over all) and group of teachers that has results.

    Groups overlap: by the sign of the gap, and by the campaign's margin.

    ``n`` counts the pairs with a result, ``decided`` those of them with a verdict, and ``against``
    those not to distil by it (percent: ``against_share``); ``advised_gain`` is the mean test gain
    (pp) of following the verdicts and ``advised_net_gain`` the teachers' part of it. Of the
    ``compared`` pairs whose vanilla point is known too, ``beats_vanilla`` gain more by tuning, and
    ``tuning_effect`` is the mean of tuned minus vanilla (pp) on test. Means have 95 % intervals,
    see :mod:`kdopt.analysis.stats`.

    Args:
        best: From :func:`kdopt.analysis.best_settings.tabulate_best_settings`.
    """
    measured = best[best["temperature"].notna()]
    lines = []
    for partition, table in split_by_scope(measured):
        for kind in (EVERY_KIND, *TEACHER_GROUPS):
            pairs = table if kind == EVERY_KIND else select_teachers(table, kind)
            if pairs.empty:
                continue
            decided = pairs[pairs["advice"] != "undecided"]
            against = int((decided["advice"] != "distil").sum())
            effect = _compute_tuning_effect(pairs)
            advised, net, tuning = (
                estimate_mean(pairs, values)
                for values in (pairs["advised_gain"], pairs["advised_net_gain"], effect)
            )
            lines.append(
                {
                    "partition": partition,
                    "teacher_kind": kind,
                    "n": len(pairs),
                    "decided": len(decided),
                    "against": against,
                    "against_share": 100 * against / len(decided) if len(decided) else math.nan,
                    **advised.name_columns("advised_gain", "advised_low", "advised_high"),
                    **net.name_columns("advised_net_gain", "advised_net_low", "advised_net_high"),
                    "compared": tuning.n,
                    "beats_vanilla": int((effect.round(TIE_DECIMALS) > 0).sum()),
                    **tuning.name_columns("tuning_effect", "effect_low", "effect_high"),
                }
            )
    return pd.DataFrame(lines, columns=list(PAYOFF_COLUMNS))


class SearchResult(NamedTuple):
    """What a search spent on a pair and what it chose."""

    points: int
    chosen: PointMean


def replay_sequential_search(
    points: Sequence[PointMean], gain: GainName, tune: TuneSettings
) -> SearchResult | None:
    """What the sequential search would have chosen from a grid; ``None`` if a point is missing.

    Every alpha at temperature 1, then every temperature at the best of them. Ties are broken as
    in the sampler itself: the alpha nearest the vanilla one, then the smaller. The vanilla point
    is always among the trials.
    """
    known = {(point.temperature, point.alpha): point for point in points}
    first = [known.get((SEQUENTIAL_TEMPERATURE, alpha)) for alpha in tune.alphas]

    def rank(point: PointMean) -> tuple[float, float, float]:
        value: float = getattr(point, gain)
        return (-value, abs(point.alpha - tune.vanilla_alpha), point.alpha)

    # The sampler tries vanilla too; it competes for the best alpha only if it lies on this line.
    vanilla = tune.vanilla_point
    at_one = [point for point in (*first, known.get(vanilla)) if point is not None]
    at_one = [point for point in at_one if point.temperature == SEQUENTIAL_TEMPERATURE]
    if not at_one or None in first:
        return None
    alpha = min(at_one, key=rank).alpha
    planned = {
        *((SEQUENTIAL_TEMPERATURE, a) for a in tune.alphas),
        vanilla,
        *((t, alpha) for t in tune.temperatures),
    }
    tried = [known[point] for point in planned if point in known]
    best = find_best_point(tried, gain, tune)
    return None if best is None or len(tried) < len(planned) else SearchResult(len(planned), best)


def compare_protocols(results: CampaignResults, best: pd.DataFrame) -> pd.DataFrame:
    """Mean trials per pair, replicates included, and mean test gain (pp) of each protocol.

    The paper tunes alpha "followed by" the temperature, and also calls it a grid search over
    Table I. A complete grid holds every trial that the sequential search would have run, so what
    that search would have chosen is known exactly, without running it.

    From a grid: the grid, the sequential search derived from it, and their paired difference,
    over the pairs whose whole grid is measured. From any other sampler: what it used, and nothing
    about searches it did not run. ``same_cell`` is the percentage of pairs in which both chose
    the same point. Scopes are all partitions together and each alone.

    Args:
        results: Trials of a campaign.
        best: From :func:`kdopt.analysis.best_settings.tabulate_best_settings`.
    """
    campaign = results.campaign
    grid = campaign.tune.sampler == "grid"
    used = _tabulate_grids(results) if grid else _tabulate_searches(best)
    lines: list[tuple[object, ...]] = []
    if used.empty:
        return pd.DataFrame(lines, columns=list(PROTOCOL_COLUMNS))
    used["family"] = [campaign.get_family(str(name)) for name in used["partition"]]
    for scope, table in split_by_scope(used):
        trials, gain = table["trials"], table["gain"]
        searches = [(FULL_GRID if grid else campaign.tune.sampler, trials, gain, math.nan)]
        if grid:
            fewer, other = table["sequential_trials"], table["sequential_gain"]
            same = 100 * float(table["same"].mean())
            searches += [
                (SEQUENTIAL, fewer, other, same),
                (GRID_MINUS_SEQUENTIAL, trials - fewer, gain - other, math.nan),
            ]
        for protocol, spent, gains, same in searches:
            mean, low, high, n = estimate_mean(table, gains)[:4]
            lines.append((scope, protocol, float(spent.mean()), mean, low, high, same, n))
    return pd.DataFrame(lines, columns=list(PROTOCOL_COLUMNS))


def split_by_scope(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The whole table, then the part of each way of partitioning, all its draws together."""
    parts = [(str(name), table[table["family"] == name]) for name in table["family"].unique()]
    return [(OVERALL, table), *parts]


def select_comparable(table: pd.DataFrame) -> pd.DataFrame:
    """The pairs that all headline measures are means over."""
    # Where vanilla was never run (an adaptive sampler), the other measures still stand.
    known = table[table["test_gain"].notna()]
    return known if known["vanilla_gain"].isna().all() else known[known["vanilla_gain"].notna()]


def _compute_tuning_effect(pairs: pd.DataFrame) -> pd.Series[float]:
    effect: pd.Series[float] = pairs["test_gain"] - pairs["vanilla_gain"]
    return effect


def _estimate_measure(pairs: pd.DataFrame, measure: str) -> Estimate:
    """A headline measure over the pairs that have it."""
    if measure == "tuning_effect":
        return estimate_mean(pairs, _compute_tuning_effect(pairs))
    if measure == "advised_against":
        decided = pairs[pairs["advice"] != "undecided"]
        return estimate_share(decided, decided["advice"] != "distil")
    if measure in ("beats_vanilla", "beats_control"):
        rival = pairs["vanilla_gain" if measure == "beats_vanilla" else "control_gain"]
        # Rounded as ties among points are: equal gains may differ in their last bits.
        ahead = (pairs["test_gain"] - rival).dropna().round(TIE_DECIMALS)
        return estimate_share(pairs.loc[ahead.index], ahead > 0)
    return estimate_mean(pairs, pairs[measure])


def _tabulate_grids(results: CampaignResults) -> pd.DataFrame:
    """Trials and gain of both searches, for every pair whose whole grid is measured."""
    campaign, tune, gain = results.campaign, results.campaign.tune, results.selected_gain
    grid = {(t, a) for t in tune.temperatures for a in tune.alphas}
    grid.add(tune.vanilla_point)
    lines = []
    for pair, rows in sorted(results.tuned.items()):
        points = [
            p
            for p in average_points(rows)
            if (p.temperature, p.alpha) in grid and p.replicates >= campaign.replicates
        ]
        best = find_best_point(points, gain, tune)
        search = replay_sequential_search(points, gain, tune)
        if best is None or search is None or len(points) < len(grid):
            continue
        lines.append(
            {
                **pair._asdict(),
                "trials": len(grid) * campaign.replicates,
                "gain": best.test_gain,
                "sequential_trials": search.points * campaign.replicates,
                "sequential_gain": search.chosen.test_gain,
                "same": best == search.chosen,
            }
        )
    if not lines:
        return pd.DataFrame()
    table = pd.DataFrame(lines)
    order = {p.name: i for i, p in enumerate(campaign.partitions)}
    ranks = table["partition"].map(lambda name: order.get(name, len(order)))
    return table.loc[ranks.sort_values(kind="stable").index]


def _tabulate_searches(best: pd.DataFrame) -> pd.DataFrame:
    """Trials and gain of every pair whose search is complete."""
    done = best[best["complete"] & best["test_gain"].notna()]
    return done.assign(trials=done["trials_done"], gain=done["test_gain"])


def measure_image_errors(
    results: CampaignResults, best: pd.DataFrame, summary: pd.DataFrame
) -> list[float]:
    """The error of every line of the headline measures from the draw of the test images, pp.

    Args:
        results: The campaign's trials.
        best: Its best settings, with the selected point of every pair.
        summary: From :func:`summarise_gains`, made of these.
    """
    contrasts = list_contrasts(results, best)
    pairs = {scope: list_pairs(select_comparable(part)) for scope, part in split_by_scope(best)}
    lines = zip(summary["partition"], summary["measure"], strict=True)
    return [
        measure_contrast_error(contrasts[measure], pairs[scope])
        if measure in contrasts
        else math.nan  # no mean of accuracies
        for scope, measure in lines
    ]


def measure_contrast_error(contrast: Contrasted, pairs: Iterable[Pair]) -> float:
    """Half the width (pp) of the 95 % interval of a mean gain over other test images.

    Args:
        contrast: One of :func:`list_contrasts`.
        pairs: Those of the mean; NaN if any has no record of single test images.
    """
    after, before = contrast
    differences = []
    for pair in pairs:
        difference = compare_on_test(after(pair), before(pair))
        if difference is None:
            return math.nan
        differences.append(difference)
    return measure_image_error(np.mean(differences, axis=0)) if differences else math.nan


def list_contrasts(results: CampaignResults, best: pd.DataFrame) -> dict[str, Contrasted]:
    """By headline measure, whose accuracies it compares: after and before, of one pair."""
    chosen = dict(
        zip(list_pairs(best), zip(best["temperature"], best["alpha"], strict=True), strict=True)
    )

    def list_point(pair: Pair, point: tuple[float, float] | None) -> list[Outcome]:
        rows = results.candidates.get(pair, [])
        return [
            row.outcome
            for row in rows
            if row.state == "COMPLETE" and row.outcome is not None and read_point(row) == point
        ]

    def list_untouched(pair: Pair) -> list[Outcome]:
        found = results.pretrained.get((pair.partition, pair.student))
        return [] if found is None else [found]

    def list_control(pair: Pair) -> list[Outcome]:
        return results.list_control_outcomes(pair, "student")

    def list_tuned(pair: Pair) -> list[Outcome]:
        return list_point(pair, chosen.get(pair))

    def list_vanilla(pair: Pair) -> list[Outcome]:
        return list_point(pair, results.campaign.tune.vanilla_point)

    return {
        "vanilla_gain": (list_vanilla, list_untouched),
        "control_gain": (list_control, list_untouched),
        "test_gain": (list_tuned, list_untouched),
        "net_gain": (list_tuned, list_control),
        "tuning_effect": (list_tuned, list_vanilla),
    }
