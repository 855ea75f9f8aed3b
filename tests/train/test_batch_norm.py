"""Batch norm's statistics, measured again on images."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kdopt.train.batch_norm import IMAGES_AT_ONCE, measure_statistics
from kdopt.train.engine import Images, make_engine

ENGINE = make_engine("fp32", "cpu")


def make_images(count):
    """Pixels in rising order, as images of one class after the other."""
    pixels = torch.arange(count).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2) % 256
    return Images(
        pixels.to(torch.uint8).contiguous(), torch.zeros(count, dtype=torch.int64), (0.0,), (1.0,)
    )


@pytest.mark.parametrize("count", [IMAGES_AT_ONCE, 2 * IMAGES_AT_ONCE + 1, 5])
def test_they_are_those_of_all_images_whatever_their_order(count):
    images = make_images(count)
    norm = nn.BatchNorm2d(1, momentum=0.3)
    norm.running_mean.fill_(9.0)
    model = nn.Sequential(norm, nn.Dropout(0.5))
    assert measure_statistics(model, images, ENGINE)
    pixels = images.batch(slice(0, count))
    assert norm.running_mean == pytest.approx(float(pixels.mean()), rel=0.01)
    assert norm.running_var == pytest.approx(float(pixels.var()), rel=0.01)
    assert norm.momentum == 0.3 and not any(m.training for m in model.modules())


def test_a_pass_that_fails_leaves_the_model_as_it_trains():
    norm = nn.BatchNorm2d(1, momentum=0.3)

    class Full(nn.Module):
        def forward(self, _):
            raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        measure_statistics(nn.Sequential(norm, Full()), make_images(9), ENGINE)
    assert norm.momentum == 0.3 and not norm.training


def test_a_model_without_statistics_and_one_image_are_left_as_they_are():
    assert not measure_statistics(nn.Sequential(nn.Linear(2, 2)), make_images(9), ENGINE)
    norm = nn.BatchNorm2d(1)
    assert not measure_statistics(norm, make_images(1), ENGINE)
    assert not measure_statistics(
        nn.BatchNorm2d(1, track_running_stats=False), make_images(9), ENGINE
    )
    assert float(norm.running_var) == 1
