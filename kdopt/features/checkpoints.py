"""Features of a pair of checkpoints that no store knows: score both, and ask both about the images.

The images are those of a campaign file: its validation set scores the models, and the student's
share, all training images, or a public set is what would be distilled on. Nothing is written.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.torch
import torch
from torch import nn

from kdopt.campaign.settings import Campaign
from kdopt.campaign.stage_settings import TransferName
from kdopt.data.datasets import Dataset
from kdopt.data.splits import Splits, make_splits
from kdopt.errors import AdviceError, ArtifactError
from kdopt.features.definitions import pair_features, views_of
from kdopt.features.measuring import asked_of
from kdopt.train.engine import Engine, Images
from kdopt.train.fit import predict
from kdopt.train.metrics import score
from kdopt.train.models import make_model


class Model(NamedTuple):
    """A checkpoint and what is known of it.

    Attributes:
        path: A safetensors file with a state dict.
        name: Its architecture; ``None`` for the campaign's.
        participant: Whose share it was trained on; ``None`` if that is not known.
    """

    path: Path
    name: str | None = None
    participant: int | None = None


def describe(
    campaign: Campaign,
    dataset: Dataset,
    teacher: Model,
    student: Model,
    transfer_set: TransferName,
    partition: str | None,
    engine: Engine,
) -> dict[str, float]:
    """The features of a pair, as :func:`kdopt.features.definitions.pair_features` names them.

    Args:
        campaign: Its images, its validation and public sets, and its model.
        dataset: Its images.
        teacher: The teacher.
        student: The student. Without a participant, it owns all training images that are neither
            validation nor public.
        transfer_set: What would be distilled on.
        partition: The campaign's partition that participants are of; ``None``: there are none.
        engine: Where to compute.

    Raises:
        KdoptError: A checkpoint cannot be read or does not fit its model, the partition or a
            participant does not exist, or the transfer set has no images.
    """
    splits = _splits(campaign, dataset, partition, (teacher, student))
    own = _share(splits, dataset, student)
    other = None if teacher.participant is None else _share(splits, dataset, teacher)
    transfer = _transfer(campaign, splits, transfer_set, own)
    models = [_load(model, campaign, dataset, engine) for model in (teacher, student)]
    validation = _images(dataset, splits.validation, engine)
    of_teacher, of_student = (
        score(predict(model, validation, engine), validation.labels, dataset.n_classes)
        for model in models
    )
    shown = asked_of(_images(dataset, transfer, engine))
    logits = [predict(model, shown, engine).cpu().numpy() for model in models]

    def counts(positions: npt.NDArray[np.int64] | None) -> npt.NDArray[np.int64] | None:
        if positions is None:
            return None
        return np.bincount(dataset.train_labels[positions], minlength=dataset.n_classes)

    return pair_features(
        of_teacher,
        of_student,
        counts(other),
        counts(own),
        views_of(*logits),
        len(transfer),
    )


def _splits(
    campaign: Campaign, dataset: Dataset, partition: str | None, models: tuple[Model, ...]
) -> Splits:
    numbers = [m.participant for m in models if m.participant is not None]
    if partition is None and numbers:
        raise AdviceError(
            f"participant {numbers[0]}: of which partition? Give --partition, one of "
            f"{', '.join(p.name for p in campaign.partitions)}"
        )
    for number in numbers:
        if not 0 <= number < campaign.participants:
            raise AdviceError(
                f"participant {number}: {campaign.name} has 0 to {campaign.participants - 1}"
            )
    # Validation and public sets are the same in all partitions.
    name = partition or campaign.partitions[0].name
    return make_splits(campaign, name, dataset.train_labels, dataset.n_classes)


def _share(splits: Splits, dataset: Dataset, model: Model) -> npt.NDArray[np.int64]:
    if model.participant is not None:
        return splits.train[model.participant]
    taken = np.concatenate([splits.validation, splits.public])
    return np.setdiff1d(np.arange(len(dataset.train_labels)), taken)


def _transfer(
    campaign: Campaign, splits: Splits, transfer_set: TransferName, own: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    if transfer_set == "student":
        return own
    size = campaign.transfer.size(transfer_set)
    if not size:
        raise AdviceError(
            f"--transfer-set {transfer_set}: {campaign.name} has no such images; set "
            f"transfer.{transfer_set} in its spec"
        )
    return splits.public[:size]


def _load(model: Model, campaign: Campaign, dataset: Dataset, engine: Engine) -> nn.Module:
    name = model.name or campaign.model
    made = make_model(name, dataset.shape, dataset.n_classes)
    try:
        made.load_state_dict(safetensors.torch.load_file(model.path))
    except OSError as error:
        reason = error.strerror or "no such file"
        raise ArtifactError(f"checkpoint {model.path}: cannot be read: {reason}") from error
    except safetensors.SafetensorError as error:
        raise ArtifactError(
            f"checkpoint {model.path}: not a safetensors file ({error}); save the state dict with "
            "safetensors.torch.save_file"
        ) from error
    except RuntimeError as error:
        first = str(error).splitlines()[1:2] or [str(error)]
        raise ArtifactError(
            f"checkpoint {model.path}: its weights are not those of model '{name}' for images of "
            f"{'x'.join(map(str, dataset.shape))} and {dataset.n_classes} classes "
            f"({first[0].strip()[:120]}); name the right model"
        ) from error
    return engine.place(made)


def _images(dataset: Dataset, positions: npt.NDArray[np.int64], engine: Engine) -> Images:
    pixels = torch.from_numpy(dataset.train_images[positions]).to(engine.device)
    labels = torch.from_numpy(dataset.train_labels[positions]).to(engine.device)
    return Images(pixels, labels, dataset.mean, dataset.std)
