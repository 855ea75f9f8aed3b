"""The lean loop: what an engineer writes in an afternoon to distil many times on one GPU.

Images and teacher's logits lie on the GPU, the test set is evaluated once, the rest is PyTorch as
it comes; ``bf16`` adds autocast, channels-last and the fused Adam, as its guides advise.
"""

from __future__ import annotations

import copy
import json
import sys
import time
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdopt.train.models import make_model

TEMPERATURE, ALPHA, BATCH = 4.0, 0.5, 32


class LeanData(NamedTuple):
    """Everything a trial reads, on the device; images are normalised."""

    images: Tensor
    labels: Tensor
    teacher_logits: Tensor
    test_images: Tensor
    test_labels: Tensor


def draw_data(shape: tuple[int, int, int], images: int, test: int, device: str) -> LeanData:
    """Noise: what a step costs does not depend on what the images show."""
    torch.manual_seed(0)
    return LeanData(
        torch.randn(images, *shape, device=device),
        torch.randint(0, 10, (images,), device=device),
        torch.randn(images, 10, device=device),
        torch.randn(test, *shape, device=device),
        torch.randint(0, 10, (test,), device=device),
    )


def distil(student: nn.Module, data: LeanData, epochs: int, bf16: bool) -> float:
    """One trial; test accuracy."""
    device = data.images.device
    model = copy.deepcopy(student).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4, fused=bf16 or None)
    for _ in range(epochs):
        order = torch.randperm(len(data.images), device=device)
        for index in order.split(BATCH):
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                logits = model(data.images[index])
            logits = logits.float()
            soft = functional.kl_div(
                functional.log_softmax(logits / TEMPERATURE, dim=1),
                functional.softmax(data.teacher_logits[index] / TEMPERATURE, dim=1),
                reduction="batchmean",
            )
            hard = functional.cross_entropy(logits, data.labels[index])
            loss = (1 - ALPHA) * hard + ALPHA * TEMPERATURE**2 * soft
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        parts = [model(images).argmax(1) for images in data.test_images.split(1000)]
    return float((torch.cat(parts) == data.test_labels).double().mean())


def main() -> None:
    """Say "ready" when warm, wait for a line, run trials; print when they began and ended."""
    job = json.loads(sys.argv[1])
    shape, device, bf16 = tuple(job["shape"]), job["device"], job["bf16"]
    torch.set_num_threads(1)
    data = draw_data(shape, job["images"], job["test"], device)
    student = make_model(job["model"], shape, 10).to(device)
    if bf16:
        channels_last = {"memory_format": torch.channels_last}
        student = student.to(**channels_last)
        data = data._replace(
            images=data.images.to(**channels_last), test_images=data.test_images.to(**channels_last)
        )
    distil(student, data._replace(images=data.images[:96]), 1, bf16)
    print("ready", flush=True)
    sys.stdin.readline()
    started = time.time()
    for _ in range(job["trials"]):
        distil(student, data, job["epochs"], bf16)
    print(json.dumps([started, time.time()]))


if __name__ == "__main__":
    main()
