import math
import random

import pytest

from kdopt.analysis.paper.judging import Contrast, combine_verdicts, contrast_means
from tests.analysis.synthetic import (
    compare_campaign,
)


def contrast(low, high, lower=0.0, upper=math.inf, n=9):
    return Contrast("x", (low + high) / 2, low, high, n, "pp", lower, upper)


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        (contrast(0.1, 2), "supported"),
        (contrast(-2, -0.1), "not supported"),
        (contrast(-1, 1), "inconclusive"),
        (contrast(0, 0), "inconclusive"),
        (contrast(-0.5, 0.5, -1, 1), "supported"),
        (contrast(1.5, 2, -1, 1), "not supported"),
        (contrast(-2, -1.5, -1, 1), "not supported"),
        (contrast(0.5, 1.5, -1, 1), "inconclusive"),
        (contrast(-2, 2, -1, 1), "inconclusive"),
        (contrast(math.nan, math.nan), "inconclusive"),
        (contrast(1, 2, n=4), "inconclusive"),
        (contrast(math.nan, math.nan, n=0), "no data"),
    ],
)
def test_the_rule_for_a_contrast(given, verdict):
    assert given.verdict == verdict


def test_the_rule_for_a_claim():
    yes, no, open_, none = contrast(1, 2), contrast(-2, -1), contrast(-1, 1), contrast(0, 0, n=0)
    assert combine_verdicts([yes, yes]) == "supported"
    assert combine_verdicts([yes, no, open_, none]) == "not supported"
    assert combine_verdicts([yes, open_]) == combine_verdicts([yes, none]) == "inconclusive"
    assert combine_verdicts([none, none]) == combine_verdicts([]) == "no data"


def test_a_mean_ignores_nan_and_knows_its_pairs():
    found = contrast_means("x", [1.0, math.nan, 3.0], compare_campaign())
    assert (found.value, found.n) == (2.0, 2)
    assert contrast_means("x", [math.nan], compare_campaign()).n == 0


def test_noise_decides_about_as_seldom_as_the_intervals_say():
    rng, campaign = random.Random(0), compare_campaign()
    found = [
        contrast_means("x", [rng.gauss(0, 3) for _ in range(40)], campaign) for _ in range(200)
    ]
    assert 0.9 <= sum(c.verdict == "inconclusive" for c in found) / 200 <= 0.99
