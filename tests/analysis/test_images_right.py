"""The record of single images, and the error that it gives to a difference."""

from __future__ import annotations

import base64
import dataclasses
import math

import numpy as np
import pytest

from kdopt.analysis.images_right import compare_on_test, measure_image_error, unpack_right
from kdopt.outcome import Scores
from tests.analysis.synthetic import outcome


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
