"""The arithmetic of a training: how much it is, and how fast the machine does it."""

from __future__ import annotations

import time
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from kdopt.train.models import Shape, make_model

SIDE = 1024


def gemm_gflops(dtype: torch.dtype, threads: int, seconds: float = 0.5) -> float:
    """10^9 floating point operations per second of a large matrix product: the best of many."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        a, b = (torch.randn(SIDE, SIDE, dtype=dtype) for _ in range(2))
        torch.mm(a, b)
        best, end = float("inf"), time.perf_counter() + seconds
        while time.perf_counter() < end:
            started = time.perf_counter()
            torch.mm(a, b)
            best = min(best, time.perf_counter() - started)
    finally:
        torch.set_num_threads(before)
    return 2 * SIDE**3 / best / 1e9


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
