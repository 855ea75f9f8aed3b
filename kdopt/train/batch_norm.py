"""Batch norm's statistics, measured again once training is over.

While a model trains, its statistics are a running mean over the last batches: a noisy one, of
weights that are gone since. One more pass over the images gives those of the weights that are kept
(Izmailov et al. 2018, "Averaging weights leads to wider optima and better generalization", section
3.2, do so for averaged weights).
"""

from __future__ import annotations

import torch
from torch import nn

from kdopt.train.engine import Engine, Images

IMAGES_AT_ONCE = 256
"""At most: the mean over so large batches is about that of all images."""


@torch.no_grad()
def measure_statistics(model: nn.Module, images: Images, engine: Engine) -> bool:
    """Measure the statistics of every batch norm on these images, in place.

    Args:
        model: On the engine's device; it is left in evaluation mode.
        images: Two at least; all views of them count.
        engine: Device and precision.

    Returns:
        Whether the model has such statistics and there are two images.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    norms = [norm for norm in norms if norm.running_mean is not None]
    if not norms or images.positions < 2:
        return False
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean of all batches
        norm.train()
    batches = -(-images.positions // IMAGES_AT_ONCE)
    try:
        for first in range(batches):
            with engine.autocast():
                # From all over: images may lie in the order of their classes, and a last batch of
                # few would count as much as a whole one.
                model(images.batch(slice(first, None, batches)))
    finally:
        # Also where memory runs out: the same object trains again.
        model.eval()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    return True
