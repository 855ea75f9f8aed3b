"""How much arithmetic a distillation is, whoever runs it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from kdopt.train.models import Shape, make_model


class PerImage(NamedTuple):
    """10^9 floating point operations of matrix products and convolutions for one image."""

    forward: float
    training: float


def per_image(model: str, shape: Shape, n_classes: int) -> PerImage:
    """Count them: a forward pass, and a training step's forward and backward pass."""
    net = make_model(model, shape, n_classes).train()
    images = torch.zeros(2, *shape)
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        net(images)
    with FlopCounterMode(display=False) as training:
        net(images).sum().backward()
    return PerImage(*(c.get_total_flops() / len(images) / 1e9 for c in (forward, training)))
