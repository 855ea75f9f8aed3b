"""The test of the best of many models on the same images."""

from __future__ import annotations

import base64
import dataclasses
import math

import numpy as np
import pytest

from kdopt.analysis.paired_test import (
    FLIPS,
    compare_on_test,
    measure_image_error,
    rate_lead,
    unpack_right,
)
from kdopt.outcome import Scores
from tests.analysis.synthetic import outcome


def draw_models(generator, images=300, candidates=55, alike=0.9, better=0.0):
    """A baseline and candidates that are right on the same share of images, and mostly alike."""
    skill = generator.random(images)
    common = generator.random(images)

    def model(lead):
        own = np.where(generator.random(images) < alike, common, generator.random(images))
        return (own < np.clip(skill + lead, 0, 1)).astype(np.float32)

    return model(0.0), np.stack([model(better) for _ in range(candidates)], axis=1)


def test_chance_alone_is_believed_in_about_one_of_twenty_whatever_was_tried():
    generator = np.random.default_rng(0)
    for candidates in (1, 55):
        for alike in (0.0, 0.9):
            rates = [rate_lead(*draw_models(generator, 200, candidates, alike)) for _ in range(300)]
            # 300 draws at 5 %: fewer than 8 % in 99 of 100 runs.
            assert np.mean(np.array(rates) < 0.05) < 0.08


def test_a_lead_of_many_images_is_seen_among_many_candidates():
    generator = np.random.default_rng(1)
    rates = [rate_lead(*draw_models(generator, 500, better=0.15)) for _ in range(20)]
    assert max(rates) < 0.05


def test_one_candidate_is_mcnemars_test():
    baseline = np.zeros(100, np.float32)
    candidate = np.zeros((100, 1), np.float32)
    candidate[:10] = 1  # 10 images better, none worse: 1 in 2 ** 10
    assert rate_lead(baseline, candidate) == pytest.approx(2**-10, abs=0.003)
    candidate[10:20] = 0
    baseline[10:20] = 1  # and 10 worse: no lead
    assert rate_lead(baseline, candidate) > 0.4


def test_models_that_do_not_differ_lead_nobody():
    baseline = np.ones(50, np.float32)
    assert rate_lead(baseline, np.ones((50, 3), np.float32)) == 1.0
    assert rate_lead(baseline, np.zeros((50, 1), np.float32)) == 1.0


def test_a_copy_of_a_candidate_changes_nothing():
    baseline, candidates = draw_models(np.random.default_rng(2), better=0.05)
    doubled = np.concatenate([candidates, candidates], axis=1)
    assert rate_lead(baseline, candidates) == rate_lead(baseline, doubled)


def test_the_least_chance_is_that_of_the_draws():
    baseline = np.zeros(400, np.float32)
    assert rate_lead(baseline, np.ones((400, 2), np.float32)) == 1 / (1 + FLIPS)


def scores_of(right):
    record = base64.b64encode(np.packbits(right).tobytes()).decode()
    return Scores(float(np.mean(right)), (float(np.mean(right)),), 1.0, len(right), record)


def done_with(right):
    return dataclasses.replace(outcome(0.0, 0.0), test=scores_of(right))


def test_the_record_of_single_images_reads_back():
    right = np.arange(13) % 3 == 0
    assert unpack_right(scores_of(right)).tolist() == right.astype(int).tolist()
    with pytest.raises(ValueError, match="no record"):
        unpack_right(Scores(0.5, (0.5,), 1.0))


def test_models_are_compared_image_by_image_over_their_replicates():
    one, other = np.array([1, 1, 0, 0]), np.array([1, 0, 0, 0])
    found = compare_on_test([done_with(one), done_with(other)], [done_with(other)])
    assert found.tolist() == [0.0, 0.5, 0.0, 0.0]
    assert compare_on_test([], [done_with(one)]) is None
    without = dataclasses.replace(outcome(0.0, 0.0), test=Scores(0.5, (0.5,), 1.0))
    assert compare_on_test([done_with(one), without], [done_with(one)]) is None


def test_the_error_is_that_of_a_share_of_the_images():
    share, images = 0.2, 500
    differences = (np.arange(images) < share * images).astype(float)
    expected = 196 * math.sqrt(share * (1 - share) / (images - 1))
    assert measure_image_error(differences) == pytest.approx(expected)
