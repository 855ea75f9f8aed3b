"""The fused steps beside torch.optim's, bit for bit."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from kdopt.train.optimizers import Adam, Sgd


def model() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5)
    )
    return layers.to(memory_format=torch.channels_last)


def train(net, optimizer, steps=5):
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        images = torch.randn(4, 3, 8, 8, generator=generator)
        optimizer.zero_grad()
        net(images.to(memory_format=torch.channels_last)).square().mean().backward()
        optimizer.step()
    return [p.detach() for p in net.parameters()]


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize(
    ("ours", "theirs"), [(Adam, torch.optim.Adam), (Sgd, torch.optim.SGD)], ids=["adam", "sgd"]
)
def test_every_bit_is_that_of_torch(ours, theirs, decay):
    a, b = model(), model()
    found = train(a, ours(a.parameters(), 0.05, decay))
    expected = train(b, theirs(b.parameters(), lr=0.05, weight_decay=decay, fused=True))
    start = [p.detach() for p in model().parameters()]
    for one, other, before in zip(found, expected, start, strict=True):
        assert torch.equal(one, other)
        assert not torch.equal(one, before)


@pytest.mark.parametrize(
    ("ours", "theirs"), [(Adam, torch.optim.Adam), (Sgd, torch.optim.SGD)], ids=["adam", "sgd"]
)
def test_what_has_no_gradient_is_left_as_it_is_and_counts_no_step(ours, theirs):
    """A layer that is not always used, and one that is frozen."""

    class Sometimes(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.always, self.sometimes = nn.Linear(4, 4), nn.Linear(4, 4)
            self.frozen = nn.Linear(4, 4).requires_grad_(False)
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            x = self.frozen(self.always(x))
            return self.sometimes(x) if self.calls % 2 else x

    def go(net, optimizer):
        x = torch.linspace(-1, 1, 12).view(3, 4)
        for _ in range(5):
            optimizer.zero_grad()
            net(x).square().mean().backward()
            optimizer.step()
        return list(net.parameters())

    a, b = Sometimes(), Sometimes()
    found = go(a, ours(a.parameters(), 0.05, 0.1))
    expected = go(b, theirs(b.parameters(), lr=0.05, weight_decay=0.1, fused=True))
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("ours", [Adam, Sgd])
def test_no_gradient_at_all_changes_nothing(ours):
    layer = nn.Linear(2, 2)
    before = layer.weight.detach().clone()
    ours(layer.parameters(), 0.1, 0.1).step()
    assert torch.equal(layer.weight, before)


def test_a_training_step_imports_no_compiler():
    """torch's own optimizers import it: 2 s and 160 MiB in every worker."""
    code = """
import sys, torch
from kdopt.campaign.settings import TrainSettings
from kdopt.train.engine import Images, make_engine, seeded
from kdopt.train.evaluation import predict_logits
from kdopt.train.fit import fit
from kdopt.train.losses import DistillationLoss
from kdopt.train.models import make_model
engine = make_engine("fp32", "cpu")
images = Images(torch.zeros(8, 1, 8, 8, dtype=torch.uint8), torch.arange(8) % 2, (0.3,), (0.3,))
teacher = torch.zeros(8, 2)
with seeded(0, engine.device) as generator:
    model = engine.move(make_model("cnn", (1, 8, 8), 2))
    fit(model, images,
        DistillationLoss(teacher, images.labels).set_cell(4.0, 0.5),
        TrainSettings(1, 0, 1e-3, 0.0, 4), engine, generator, lambda m: 0.0)
predict_logits(model, images, engine)
print(sorted(m for m in ("torch._dynamo", "torch._inductor", "sympy") if m in sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600
    )
    assert done.stdout.strip() == "[]"
