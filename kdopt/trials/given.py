"""A pair of models and its data that exist in this process only: what ``kdopt.tune`` was given.

The trials are those of any campaign. What differs is where images and models come from: arrays of
any shape and type instead of bytes that are normalised, modules that are copied instead of models
that are built by name.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch
from torch import Tensor, nn

from kdopt.campaign.participants import Architecture
from kdopt.campaign.record import CampaignRecord
from kdopt.data.datasets import Dataset
from kdopt.data.given_logits import GivenLogits, pack_logits
from kdopt.data.splits import Splits, pack_splits
from kdopt.outcome import Outcome
from kdopt.train.engine import Engine, Images, seeded
from kdopt.train.fit import TOGETHER
from kdopt.trials.context import Context
from kdopt.trials.interfaces import ArtifactFolder

TEACHER, STUDENT = 0, 1
"""The two participants of such a campaign."""
ROLES = ("teacher", "student")
"""Their names."""


@dataclass(frozen=True)
class GivenSet:
    """Inputs as the models take them, (n, ...), of any type, and class numbers, int64, (n,)."""

    inputs: Tensor
    labels: Tensor


@dataclass(frozen=True)
class GivenPair:
    """Teacher, student and data.

    Attributes:
        teacher: A module, or logits by position in :attr:`dataset`.
        student: A module.
        train: What the student is distilled on.
        validation: What settings are chosen by.
        test: What is reported.
        n_classes: Logits of both.
    """

    teacher: nn.Module | GivenLogits
    student: nn.Module
    train: GivenSet
    validation: GivenSet
    test: GivenSet
    n_classes: int

    @property
    def knows_validation(self) -> bool:
        """Whether the teacher's answers to validation are known."""
        if isinstance(self.teacher, nn.Module):
            return True
        return not np.isnan(self.teacher.train[: len(self.validation.labels)]).any()

    def name_models(self) -> tuple[str | None, str]:
        """What the two are called, ``None`` for logits; they differ, whatever the classes."""
        teacher = None
        if isinstance(self.teacher, nn.Module):
            teacher = _name_model(TEACHER, self.teacher)
        return teacher, _name_model(STUDENT, self.student)

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The data as a campaign has them: validation first, then the student's own."""
        held, own = self.validation, self.train
        return Dataset(
            "python",
            torch.cat([held.inputs, own.inputs]).numpy(),
            torch.cat([held.labels, own.labels]).numpy(),
            self.test.inputs.numpy(),
            self.test.labels.numpy(),
            tuple(map(str, range(self.n_classes))),
            (),
            (),
        )

    def pack_positions(self) -> bytes:
        """The positions of validation and of the student's data, as an artifact."""
        held, all_of_them = len(self.validation.labels), len(self.dataset.train_labels)
        none = np.empty(0, np.int64)
        own = np.arange(held, all_of_them)
        return safetensors.numpy.save(pack_splits(Splits((none, own), np.arange(held), none)))

    def pack_models(self) -> dict[str, bytes]:
        """By role, what is known of the model: its weights, and what its layers are.

        Two files differ where the roles do: a checkpoint's hash says whose it is.
        """
        return {
            role: safetensors.torch.save(list_tensors(model), _describe_model(role, model))
            if isinstance(model, nn.Module)
            else pack_logits(model)
            for role, model in zip(ROLES, (self.teacher, self.student), strict=True)
        }


def _name_model(who: int, model: nn.Module) -> str:
    # In the letters that names of models have.
    return f"{ROLES[who]}.{re.sub('[^A-Za-z0-9_]', '_', type(model).__name__)[:100]}"


def list_tensors(model: nn.Module) -> dict[str, Tensor]:
    """All that a copy needs to be the same model: its state, and its other buffers."""
    # Copies: layers may share weights, and a file holds each tensor on its own.
    state = {**model.state_dict(), **dict(_list_other_buffers(model))}
    return {key: value.detach().cpu().clone().contiguous() for key, value in state.items()}


def _describe_model(role: str, model: nn.Module) -> dict[str, str]:
    kind = type(model)
    text = f"{kind.__module__}.{kind.__qualname__} {model!r}"
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    layers = hashlib.sha256(json.dumps([text, trained]).encode()).hexdigest()
    # One entry: several come in any order, and the file's hash is to depend on the model alone.
    return {"participant": f"{role} {layers}"}


def _list_other_buffers(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Buffers that a model's state leaves out; a trial must not find those of another."""
    known = model.state_dict()
    return ((name, buffer) for name, buffer in model.named_buffers() if name not in known)


class Examples(Images):
    """A set of labelled inputs on the device, taken as they are.

    Args:
        inputs: (n, ...), of any type.
        labels: int64, (n,).
    """

    def __init__(self, inputs: Tensor, labels: Tensor) -> None:
        self.labels = labels
        self.views = 1
        self._shape = inputs.shape[1:]
        # Images lie in memory as those of other campaigns do, channels last: the choice of a
        # kernel, and so the last bits of its result, may depend on it.
        self._pictures = inputs.ndim == 4
        placed = inputs.permute(0, 2, 3, 1) if self._pictures else inputs
        self._rows = placed.reshape(len(inputs), -1)

    def batch(self, index: Tensor | slice) -> Tensor:
        """Inputs, (batch, ...)."""
        rows = self._rows
        return self._as_images(
            rows[index] if isinstance(index, slice) else rows.index_select(0, index)
        )

    def take(self, index: Tensor) -> Examples:
        """The inputs at these positions, as a set of their own."""
        return Examples(self.pixels[index], self.labels[index])

    def _as_images(self, rows: Tensor) -> Tensor:
        if not self._pictures:
            return rows.view(-1, *self._shape)
        channels, height, width = self._shape
        return rows.view(-1, height, width, channels).permute(0, 3, 1, 2)


class GivenContext(Context):
    """A campaign of :class:`GivenPair` in one worker process.

    Args:
        given: The models and data.
        record: The campaign as the store keeps it.
        dataset: ``given.dataset``.
        artifacts: Where checkpoints and splits are kept.
        engine: Device and precision.
    """

    def __init__(
        self,
        given: GivenPair,
        record: CampaignRecord,
        dataset: Dataset,
        artifacts: ArtifactFolder,
        engine: Engine,
    ) -> None:
        super().__init__(record, dataset, artifacts, engine)
        self._pair = given
        self._who = {record.weights[role]: who for who, role in enumerate(ROLES)}

    def load_checkpoint(self, sha256: str, number: int = 0) -> nn.Module:
        """A copy of the teacher or the student, as it was given."""
        who = self._who[sha256]
        kind = self.campaign.get_architecture(who)
        if self.engine.device.type != "cuda":
            # A new copy: a module may count its calls, say, and trials are to know nothing of each
            # other. On CUDA steps are recorded for one object, which is filled again.
            self._workbenches.pop((kind, number), None)
        model = self._get_workbench(kind, number)
        _fill_model(model, cast("nn.Module", (self._pair.teacher, self._pair.student)[who]))
        return model

    @functools.cached_property
    def together(self) -> int:
        """How many trials to run at once."""
        if self.engine.device.type != "cuda":
            return 1
        model = self.engine_copy(self._pair.student)
        with seeded(0, self.engine.device), torch.no_grad(), self.engine.autocast():
            before = torch.cuda.get_rng_state(self.engine.device)
            model.train()(self.test.batch(slice(0, 2)))
            drawn = not torch.equal(before, torch.cuda.get_rng_state(self.engine.device))
        return 1 if drawn else TOGETHER

    def engine_copy(self, module: nn.Module) -> nn.Module:
        """A copy of a module on the device."""
        # Never the module itself: it is the caller's, and trials fill and train what they get.
        copied = copy.deepcopy(module)
        if any(p.ndim == 5 for p in copied.parameters()):
            return copied.to(self.engine.device)  # convolutions of volumes have no channels last
        return self.engine.move(copied)

    def pack_trained(self, model: nn.Module, trial: str, outcome: Outcome, who: int) -> bytes:
        """The weights of a student that a trial trained, as a file."""
        return safetensors.torch.save(list_tensors(model), {"trial": trial})

    def _new_model(self, kind: Architecture) -> nn.Module:
        who = ROLES.index(kind.model.partition(".")[0])
        model = self.engine_copy(cast("nn.Module", (self._pair.teacher, self._pair.student)[who]))
        self._kinds[model] = kind
        return model

    def _move_images(self, pixels: np.ndarray, labels: np.ndarray) -> Images:
        there, targets = (torch.from_numpy(a).to(self.engine.device) for a in (pixels, labels))
        return Examples(there, targets)


@torch.no_grad()
def _fill_model(model: nn.Module, given: nn.Module) -> None:
    theirs = {**dict(given.named_parameters()), **dict(given.named_buffers())}
    for name, value in {**dict(model.named_parameters()), **dict(model.named_buffers())}.items():
        value.copy_(theirs[name])


def restore_student(given: GivenPair, tensors: Mapping[str, Tensor]) -> nn.Module:
    """A copy of the student with other weights, in evaluation mode, where the student was."""
    model = copy.deepcopy(given.student)
    state = model.state_dict()
    model.load_state_dict({key: tensors[key] for key in state})
    others = dict(_list_other_buffers(model))
    with torch.no_grad():
        for name, buffer in others.items():
            buffer.copy_(tensors[name])
    return model.eval()
