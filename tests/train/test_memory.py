from __future__ import annotations

import platform
import resource

import pytest
import torch
from torch import nn

from kdopt.train.engine import Images, make_engine
from kdopt.train.evaluation import predict_logits


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library's own affair")
def test_an_evaluation_asks_the_system_for_no_memory_that_the_one_before_had():
    engine = make_engine("fp32", "cpu")
    model = engine.move(nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.Flatten()))
    n = 5 * engine.choose_evaluation_batch(1)
    images = Images(
        torch.zeros(n, 1, 32, 32, dtype=torch.uint8),
        torch.zeros(n, dtype=torch.int64),
        (0.3,),
        (0.2,),
    )

    def taken() -> int:
        """Pages that the system handed out for one evaluation."""
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        predict_logits(model, images, engine)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    activations = n * 16 * 32 * 32 * 4 // resource.getpagesize()
    taken()
    assert min(taken() for _ in range(3)) < activations // 20
