"""The error of a mean gain by the draw of the test images."""

from __future__ import annotations

import dataclasses
import math

import pytest

from kdopt.analysis.sampling_error import SamplingErrors
from kdopt.analysis.tables import compute_tables
from kdopt.outcome import Scores
from tests.analysis.synthetic import IMAGES, make_campaign, make_rows

CAMPAIGN = make_campaign()


def summary_of(rows):
    return compute_tables(rows, CAMPAIGN).gain_summary.set_index(["partition", "measure"])


def test_it_is_that_of_a_difference_of_shares_over_the_same_images():
    rows = make_rows(CAMPAIGN, test=lambda gap, t, a: 10.0)
    found = summary_of(rows).loc[("uniform", "test_gain"), "image_error"]
    # Each student wins a tenth of the images, three students each another tenth of them.
    per_image = SamplingErrors(*arguments(rows))
    one = per_image.measure_error("test_gain", arguments(rows)[0].pairs[:1])
    share = 0.1
    assert one == pytest.approx(196 * math.sqrt(share * (1 - share) / (IMAGES - 1)), rel=1e-3)
    assert 0 < found <= one


def arguments(rows):
    tables = compute_tables(rows, CAMPAIGN)
    return tables.results, tables.best_settings


def test_more_pairs_on_the_same_images_do_not_average_it_away():
    rows = make_rows(CAMPAIGN, test=lambda gap, t, a: 10.0)
    errors = SamplingErrors(*arguments(rows))
    pair = arguments(rows)[0].pairs[0]
    assert errors.measure_error("test_gain", [pair] * 9) == pytest.approx(
        errors.measure_error("test_gain", [pair])
    )


def test_it_is_unknown_without_a_record_and_for_what_is_no_mean_of_accuracies():
    rows = [
        dataclasses.replace(
            row, outcome=dataclasses.replace(row.outcome, test=Scores(0.5, (), 1.0))
        )
        for row in make_rows(CAMPAIGN)
    ]
    found = summary_of(rows)
    assert found["image_error"].isna().all()
    known = summary_of(make_rows(CAMPAIGN)).loc["uniform", "image_error"]
    assert math.isnan(known["beats_vanilla"]) and not math.isnan(known["tuning_effect"])
