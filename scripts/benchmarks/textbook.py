"""A distillation as tutorials write it: the peer of ``bench.py distill`` that has no library.

DataLoader over PIL images, the teacher runs on every batch, the test set after every epoch.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from benchmarks.peer_job import Job, main


def trial(job: Job, _number: int) -> float:
    """Distil once; test accuracy after the last epoch."""
    teacher, student = job.load_model("teacher").eval(), job.load_model("student")
    options = {"num_workers": job.loader_workers, "persistent_workers": job.loader_workers > 0}
    train = DataLoader(job.images("train"), job.batch_size, shuffle=True, **options)
    test = DataLoader(job.images("test"), 256, **options)
    optimizer = torch.optim.Adam(
        student.parameters(), lr=job.learning_rate, weight_decay=job.weight_decay
    )
    accuracy = 0.0
    for _ in range(job.epochs):
        student.train()
        for images, labels in train:
            with torch.no_grad():
                teacher_logits = teacher(images)
            logits = student(images)
            soft = functional.kl_div(
                functional.log_softmax(logits / job.temperature, dim=1),
                functional.softmax(teacher_logits / job.temperature, dim=1),
                reduction="batchmean",
            )
            hard = functional.cross_entropy(logits, labels)
            loss = (1 - job.alpha) * hard + job.alpha * job.temperature**2 * soft
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        accuracy = evaluate(student, test)
    return accuracy


@torch.no_grad()
def evaluate(model: nn.Module, test: DataLoader) -> float:
    model.eval()
    right = sum(int((model(x).argmax(1) == y).sum()) for x, y in test)
    return right / len(test.dataset)


if __name__ == "__main__":
    main(trial)
