import math

import numpy as np
import pandas as pd
import pytest

from kdopt.analysis.paper.judging import (
    Contrast,
    combine_verdicts,
    contrast_means,
    contrast_with_rivals,
    judge_contrasts,
    make_contrast,
)
from kdopt.analysis.stats import Estimate, estimate_mean
from scripts.coverage_of_intervals import draw_gains, list_pairs

RUNS = 300


def contrast(inside, outside, n=9):
    return Contrast("x", 1.0, 0.0, 2.0, n, inside=inside, outside=outside)


def verdicts(*contrasts):
    return [c.verdict for c in judge_contrasts(contrasts)]


def test_the_rule_for_a_contrast():
    assert verdicts(contrast(0.04, 0.96)) == ["supported"]
    assert verdicts(contrast(0.96, 0.04)) == ["contradicted"]
    assert verdicts(contrast(0.3, 0.7)) == ["undecided"]
    assert verdicts(contrast(math.nan, math.nan)) == ["undecided"]
    assert verdicts(contrast(math.nan, math.nan, n=0)) == ["no data"]


def test_a_contradiction_holds_over_all_contrasts_of_a_claim():
    """Holm: the least chance times 3, the next times 2, and nothing after the first that fails."""
    assert verdicts(*(contrast(0.9, p) for p in (0.03, 0.5, 0.9))) == ["undecided"] * 3
    found = verdicts(*(contrast(0.9, p) for p in (0.9, 0.016, 0.024)))
    assert found == ["undecided", "contradicted", "contradicted"]
    found = verdicts(*(contrast(0.9, p) for p in (0.02, 0.024, 0.026)))
    assert found == ["undecided"] * 3
    # A contrast without an interval is not among those that are tested.
    few = contrast(math.nan, math.nan)
    assert verdicts(contrast(0.9, 0.04), few) == ["contradicted", "undecided"]


def test_the_rule_for_a_claim():
    yes, no, unclear, none = (
        contrast(0.0, 1.0)._replace(verdict=verdict)
        for verdict in ("supported", "contradicted", "undecided", "no data")
    )
    assert combine_verdicts([yes, yes]) == "supported"
    assert combine_verdicts([yes, no, unclear, none]) == "contradicted"
    assert combine_verdicts([yes, unclear]) == combine_verdicts([yes, none]) == "undecided"
    assert combine_verdicts([none, none]) == combine_verdicts([]) == "no data"


@pytest.mark.parametrize(
    ("mean", "bounds", "verdict"),
    [
        (3.0, (0.0, math.inf), "supported"),
        (-3.0, (0.0, math.inf), "contradicted"),
        (0.5, (0.0, math.inf), "undecided"),
        (0.0, (-3.0, 3.0), "supported"),
        (6.0, (-3.0, 3.0), "contradicted"),
        (-6.0, (-3.0, 3.0), "contradicted"),
        (2.0, (-3.0, 3.0), "undecided"),
        (-3.0, (-math.inf, 0.0), "supported"),
    ],
)
def test_ranges_have_two_ends(mean, bounds, verdict):
    found = Estimate(mean, mean - 2.2, mean + 2.2, 30, 1.0, 10.0)
    (judged,) = judge_contrasts([make_contrast("x", found, *bounds)])
    assert judged.verdict == verdict


def test_a_contrast_has_the_interval_of_the_same_mean_elsewhere():
    table = list_pairs(1, 6)
    gains = pd.Series(draw_gains(np.random.default_rng(0), table, (0.35, 0.2), 1)[:, 0])
    gains[3] = math.nan
    found, expected = contrast_means("x", table, gains), estimate_mean(table, gains)
    assert found[1:5] == pytest.approx(expected[:4])
    assert contrast_means("x", table, gains * math.nan).n == 0


def draw_methods(rng, n):
    """Gains of three methods that differ by chance only."""
    table = list_pairs(2, 6)
    gains = draw_gains(rng, table, (0.35, 0.2), n)
    return table.assign(**{f"m{i}": gains[:, i] for i in range(n)})


def count(verdict, runs):
    return sum(verdict in found for found in runs) / len(runs)


def test_a_claim_of_five_contrasts_at_the_border_is_contradicted_about_as_seldom_as_it_says():
    rng, runs = np.random.default_rng(0), []
    for _ in range(RUNS):
        table = draw_methods(rng, 5)
        runs.append(verdicts(*(contrast_means("x", table, table[f"m{i}"]) for i in range(5))))
    assert count("contradicted", runs) <= 0.07
    assert sum(set(found) == {"supported"} for found in runs) == 0


def test_the_choice_of_the_hardest_rival_contradicts_no_more_often():
    rng, runs = np.random.default_rng(1), []
    for _ in range(RUNS):
        table = draw_methods(rng, 4)
        runs.append(verdicts(*contrast_with_rivals(table, "m0", ("m1", "m2", "m3"), "x")))
    assert count("contradicted", runs) <= 0.07
    assert count("supported", runs) <= 0.07


def test_the_hardest_rival_is_named_and_those_never_run_have_no_data():
    table = draw_methods(np.random.default_rng(2), 3).assign(m1=5.0, m3=math.nan)
    found = contrast_with_rivals(table, "m0", ("m1", "m2", "m3"), "here")
    assert found[0].label == "here: m0 - m1 (greatest of the others)"
    assert found[0].value == pytest.approx((table["m0"] - 5).mean())
    assert [c.label for c in found[1:]] == ["here: m3 was not run"]
    least = contrast_with_rivals(table, "m0", ("m1", "m2"), "here", sign=-1)
    assert least[0].label == "here: m2 - m0 (least of the others)"
