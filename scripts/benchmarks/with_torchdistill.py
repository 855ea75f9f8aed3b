"""The same distillation by torchdistill, put together as its own examples are.

Its ``alpha`` weighs the hard labels, so it is one minus ours.
"""

from __future__ import annotations

import logging
import warnings

import torch

from benchmarks.peer_job import Job, main
from benchmarks.textbook import evaluate

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)


def make_config(job: Job) -> dict[str, object]:
    """The settings of one training, in torchdistill's words."""

    def loader(dataset: str, batch_size: int, shuffle: bool) -> dict[str, object]:
        options = {
            "num_workers": job.loader_workers,
            "persistent_workers": job.loader_workers > 0,
            "batch_size": batch_size,
        }
        sampler = "RandomSampler" if shuffle else "SequentialSampler"
        return {
            "dataset_id": dataset,
            "sampler": {"class_or_func": getattr(torch.utils.data, sampler), "kwargs": {}},
            "kwargs": options,
        }

    logits = {"io": "output", "path": "."}
    return {
        "num_epochs": job.epochs,
        "train_data_loader": loader("train", job.batch_size, True),
        "val_data_loader": loader("test", 256, False),
        "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
        "student": {"forward_proc": "forward_batch_only"},
        "optimizer": {
            "key": "Adam",
            "kwargs": {"lr": job.learning_rate, "weight_decay": job.weight_decay},
        },
        "criterion": {
            "key": "WeightedSumLoss",
            "kwargs": {
                "sub_terms": {
                    "kd": {
                        "criterion": {
                            "key": "KDLoss",
                            "kwargs": {
                                "student_module_path": logits["path"],
                                "student_module_io": logits["io"],
                                "teacher_module_path": logits["path"],
                                "teacher_module_io": logits["io"],
                                "temperature": job.temperature,
                                "alpha": 1 - job.alpha,
                                "reduction": "batchmean",
                            },
                        },
                        "weight": 1.0,
                    }
                }
            },
        },
    }


def trial(job: Job, _number: int) -> float:
    """Distil once; test accuracy after the last epoch."""
    from torchdistill.core.distillation import get_distillation_box

    box = get_distillation_box(
        job.load_model("teacher").eval(),
        job.load_model("student"),
        {"train": job.images("train"), "test": job.images("test")},
        make_config(job),
        torch.device("cpu"),
        None,
        False,
        1.0,
    )
    accuracy = 0.0
    for epoch in range(box.num_epochs):
        box.pre_epoch_process(epoch=epoch)
        for sample_batch, targets, supp_dict in box.train_data_loader:
            box.pre_forward_process()
            loss = box.forward_process(sample_batch, targets, supp_dict)
            box.post_forward_process(loss=loss)
        accuracy = evaluate(box.student_model, box.val_data_loader)
        box.post_epoch_process()
    box.clean_modules()
    return accuracy


if __name__ == "__main__":
    main(trial)
