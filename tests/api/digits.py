"""A teacher, a student and digits, as somebody has them in a notebook."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import nn

from kdopt.train.engine import keep_process_settings
from kdopt.train.optimizers import Adam


def make_net(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))


def train_net(net: nn.Module, x, y, steps: int) -> nn.Module:
    optimizer = Adam(net.parameters(), 1e-2, 0.0)
    inputs, labels = torch.tensor(x), torch.tensor(y)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(inputs), labels).backward()
        optimizer.step()
    return net


def make_pair():
    """The two modules, and what ``kdopt.tune`` takes besides them; no setting is a default."""
    pixels, y = load_digits(return_X_y=True)
    x = (pixels / 16).astype("float32")
    with keep_process_settings():
        torch.set_num_threads(1)  # threads of a busy machine wait for each other
        torch.manual_seed(0)
        teacher = train_net(make_net(48), x[400:1000], y[400:1000], 60)
        student = train_net(make_net(8), x[:100], y[:100], 25)
    data = {
        "train": (x[:100], y[:100]),
        "validation": (x[1000:1300], y[1000:1300]),
        "test": (x[1300:], y[1300:]),
    }
    quick = {"epochs": 2, "patience": 0, "learning_rate": 0.01, "precision": "fp32"}
    return teacher, student, {**data, **quick, "device": "cpu", "progress": False}
