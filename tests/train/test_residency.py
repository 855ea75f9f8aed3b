"""Training keeps to one device: nothing crosses to another inside an epoch, nothing waits for it.

A device without memory ("meta") stands for a GPU. Every operation on it is checked, and reading a
value back, which would make the host wait for a GPU, cannot be done there at all.
"""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kdopt.campaign.settings import TrainSettings
from kdopt.campaign.stage_settings import METHODS, TRANSFER_SETS
from kdopt.train.engine import Engine, Images
from kdopt.train.evaluation import predict_logits
from kdopt.train.fit import _train_epoch
from kdopt.train.losses import DistillationLoss
from kdopt.train.methods.base import MethodInputs
from kdopt.train.methods.registry import find_method
from kdopt.train.models import ModelPair, make_model
from kdopt.train.steps import Steps, TrainingStep

FAR = torch.device("meta")
N, CLASSES = 70, 10


class FarEngine(Engine):
    """An engine whose optimizer is not fused: the fused kernels know real devices only."""

    def make_optimizer(self, name, model, learning_rate, weight_decay):
        return torch.optim.Adam(model.parameters(), lr=learning_rate, weight_decay=weight_decay)


class Crossings(TorchDispatchMode):
    """The operations that saw tensors of two devices; a number (no dimensions) may be anywhere."""

    def __init__(self):
        super().__init__()
        self.found: list[str] = []
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, torch.Tensor)]
        self.count += 1
        if len({t.device for t in tensors if t.dim()}) > 1:
            self.found.append(str(func))
        return out


def images() -> Images:
    pixels = torch.zeros(N, 1, 28, 28, dtype=torch.uint8, device=FAR)
    return Images(pixels, torch.zeros(N, dtype=torch.int64, device=FAR), (0.3,), (0.3,))


def epoch(model, loss):
    engine, watch = FarEngine(FAR, "fp32"), Crossings()
    step = TrainingStep(model, images(), loss, TrainSettings(), engine)
    steps = Steps((step,), lambda index: step.run(index[0]))
    # The one value that an epoch asks for, at its end, has no answer here.
    with watch, pytest.raises(RuntimeError, match=r"item|meta"):
        _train_epoch(steps, 32, [torch.Generator()], 0)
    states = list(step.optimizer.state.values())
    assert states and all(int(s["step"]) == 3 for s in states), "the epoch was not finished"
    return watch


def new_model():
    return FarEngine(FAR, "fp32").move(make_model("cnn", (1, 28, 28), CLASSES))


def test_an_epoch_moves_the_order_of_its_images_and_nothing_else():
    teacher = torch.zeros(N, CLASSES, device=FAR)
    labels = images().labels
    watch = epoch(
        new_model(),
        DistillationLoss(teacher, labels, on_device=False).set_cell(4.0, 0.5),
    )
    assert watch.found == ["aten._to_copy.default"]
    assert watch.count > 200


@pytest.mark.parametrize("transfer_set", TRANSFER_SETS)
@pytest.mark.parametrize("name", METHODS)
def test_so_does_every_method(name, transfer_set):
    method = find_method(name, transfer_set)
    logits = torch.zeros(N, CLASSES, device=FAR)
    labels = None if transfer_set.startswith("public_unlabeled") else images().labels
    material = MethodInputs(labels, logits, logits, public=transfer_set != "student")
    model = ModelPair(new_model(), new_model()) if method.trains_both else new_model()
    values = {"alpha": 0.5, "self_teacher_weight": 0.5} if name == "vanilla" else {}
    loss = method.loss(material, temperature=4.0, **values)
    assert epoch(model, loss).found == ["aten._to_copy.default"]


def test_predictions_stay_where_the_images_are():
    model, shown = new_model(), images()
    # The one value that is asked for, how many are not finite, has no answer here.
    with Crossings() as watch, pytest.raises(RuntimeError, match=r"item|meta"):
        predict_logits(model, shown, FarEngine(FAR, "fp32"))
    assert watch.found == []
