"""The lean loop on real images, on a CPU: the peer of ``bench.py distill`` that counts.

Images and the teacher's logits are tensors in memory, made once for all trials; the test set is
evaluated once; the rest is PyTorch as it comes, on all cores. The loop is that of ``lean_gpu``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import lean_gpu
from benchmarks.lean_gpu import LeanData
from benchmarks.peer_job import Job, main


def trial(job: Job, _number: int) -> float:
    """Distil once; test accuracy after the last epoch."""
    fixed = (lean_gpu.TEMPERATURE, lean_gpu.ALPHA, lean_gpu.BATCH, 1e-3, 1e-4)
    asked = job.temperature, job.alpha, job.batch_size, job.learning_rate, job.weight_decay
    assert asked == fixed, (asked, fixed)
    if not _MADE:
        _MADE.append(_make(job))
    student, data = _MADE[0]
    return lean_gpu.distil(student, data, job.epochs, bf16=False)


_MADE: list[tuple[nn.Module, LeanData]] = []


def _make(job: Job) -> tuple[nn.Module, LeanData]:
    """The student, and what every trial reads."""
    (images, labels), test = _read_part(job, "train"), _read_part(job, "test")
    teacher = job.load_model("teacher").eval()
    with torch.no_grad():
        logits = torch.cat([teacher(part) for part in images.split(1000)])
    return job.load_model("student"), LeanData(images, labels, logits, *test)


def _read_part(job: Job, part: str) -> tuple[Tensor, Tensor]:
    """Normalised images and labels."""
    images, labels = (np.load(Path(job.folder) / f"{part}_{x}.npy") for x in ("images", "labels"))
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (job.mean, job.std))
    pixels = torch.from_numpy(images).float() / 255
    return (pixels - mean) / std, torch.from_numpy(labels).long()


if __name__ == "__main__":
    main(trial)
