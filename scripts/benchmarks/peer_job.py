"""What both peers of ``bench.py distill`` are given: images as PIL sees them, models, settings."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.torch
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset
from torchvision import transforms

from kdopt.train.models import make_model


class Job(NamedTuple):
    """One distillation, to be run several times with other seeds."""

    model: str
    folder: str
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    temperature: float
    alpha: float
    mean: list[float]
    std: list[float]
    trials: int
    seed: int
    threads: int
    loader_workers: int

    def load_model(self, role: str) -> nn.Module:
        """The pre-trained teacher or student."""
        state = safetensors.torch.load_file(Path(self.folder) / f"{role}.safetensors")
        pixels = np.load(Path(self.folder) / "test_images.npy", mmap_mode="r")
        classes = int(np.load(Path(self.folder) / "test_labels.npy").max()) + 1
        model = make_model(self.model, pixels.shape[1:], classes)
        model.load_state_dict(state)
        return model

    def images(self, name: str) -> Dataset[Any]:
        """A data set as torchvision's are: bytes to PIL, then the usual transforms."""
        return PilImages(Path(self.folder), name, self.mean, self.std)


class PilImages(Dataset[Any]):
    """``torchvision.datasets.FashionMNIST`` from arrays: the same steps for every image."""

    def __init__(self, folder: Path, name: str, mean: list[float], std: list[float]) -> None:
        self.data = np.load(folder / f"{name}_images.npy")
        self.targets = np.load(folder / f"{name}_labels.npy").tolist()
        self.transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize(tuple(mean), tuple(std))]
        )

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        pixels = self.data[index]
        gray = pixels.shape[0] == 1
        image = Image.fromarray(pixels[0] if gray else pixels.transpose(1, 2, 0))
        return self.transform(image), self.targets[index]


def main(trial: Callable[[Job, int], float]) -> None:
    """Run a peer's trial as often as the job says; print seconds and accuracies as JSON."""
    job = Job(**json.loads(sys.argv[1]))
    torch.set_num_threads(job.threads)
    seconds, accuracies = [], []
    cpu_s = time.process_time()
    for number in range(job.trials):
        torch.manual_seed(job.seed + number)
        started = time.perf_counter()
        accuracies.append(trial(job, number))
        seconds.append(time.perf_counter() - started)
    cpu_s = (time.process_time() - cpu_s) / job.trials
    print(json.dumps({"seconds": seconds, "accuracies": accuracies, "cpu": cpu_s}))
