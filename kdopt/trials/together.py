"""How many trials of a pair run at once on a device."""

from __future__ import annotations

from torch import nn

from kdopt.campaign.shapes import Shape
from kdopt.train.engine import Engine
from kdopt.train.models import draws_random_numbers

TOGETHER = 8
"""On a GPU. An H200 gains less beyond: with 16 a step of ``cnn`` takes 0.73 of the time that it
takes with 8, and one of ``resnet18`` as long."""


def choose_group_size(model: nn.Module, shape: Shape, engine: Engine) -> int:
    """How many: one small model does not fill a GPU, and a core is full with one.

    Models that draw random numbers while they train run alone: with dropout, what a trial computes
    would depend on its company.

    Args:
        model: Any of the campaign's; its batch norms' statistics move.
        shape: Of an image.
        engine: Device and precision.
    """
    if engine.device.type != "cuda" or draws_random_numbers(model, shape, engine):
        return 1
    return TOGETHER
