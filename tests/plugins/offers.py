"""Plugin files and installed packages to test with."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from textwrap import dedent

PLUGIN = '''
"""A model, a method and a data set."""

import numpy as np
from torch import nn
from torch.nn import functional

from kdopt.plugins import LabelledData, register_dataset, register_method, register_model


@register_model("tiny_net")
def make_tiny_net(shape, n_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, n_classes))


@register_method(
    "cosine_kd",
    space={"weight": [0.5, 0.9], "temperature": [1.0, 4.0]},
    published={"weight": 0.7, "temperature": 2.0},
    log=["temperature"],
)
def make_cosine_loss(inputs, *, weight, temperature):
    def loss(index, logits):
        soft = functional.softmax(logits.float() / temperature, 1)
        target = functional.softmax(inputs.teacher[index] / temperature, 1)
        apart = 1 - functional.cosine_similarity(soft, target).mean()
        hard = functional.cross_entropy(logits.float(), inputs.labels[index])
        return (1 - weight) * hard + weight * apart

    return loss


@register_dataset("stripes")
def read_stripes(settings):
    random = np.random.default_rng(0)

    def draw(n):
        labels = random.integers(0, 4, n)
        images = random.integers(0, 160, (n, 1, 8, 8), dtype=np.uint8)
        images[np.arange(n), 0, 2 * labels] += 60
        return images, labels

    return LabelledData(*draw(200), *draw(100), ("a", "b", "c", "d"))
'''

CAMPAIGN = """
name = "mine"
participants = 2
model = "tiny_net"
partitions = ["uniform"]
stages = ["tune"]
[data]
name = "stripes"
[pretrain]
epochs = 2
[distill]
epochs = 1
[tune]
methods = ["kd", "cosine_kd"]
temperatures = [1]
alphas = [0.5]
[tune.cosine_kd]
weight = [0.25]
"""


def write_plugin(folder: Path, text: str = PLUGIN, name: str = "mine.py") -> Path:
    """A plugin file."""
    path = folder / name
    path.write_text(text)
    return path


def write_campaign(folder: Path, text: str = CAMPAIGN) -> Path:
    """A campaign file."""
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def install_package(folder: Path, name: str, code: str, entry_points: str) -> None:
    """What pip leaves behind of a package with one module of the same name."""
    module = folder / f"{name}.py"
    module.write_text(dedent(code))
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(dedent(entry_points))
    digest = base64.urlsafe_b64encode(hashlib.sha256(module.read_bytes()).digest()).decode()
    (info / "RECORD").write_text(
        f"{name}.py,sha256={digest.rstrip('=')},{module.stat().st_size}\n"
        f"{info.name}/METADATA,,\n{info.name}/entry_points.txt,,\n{info.name}/RECORD,,\n"
    )
