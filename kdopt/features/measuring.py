"""Ask models what they say about each other's images, to describe the pairs they make.

No trial: nothing is trained, and no trial depends on what comes out. The answers describe pairs
(see :mod:`kdopt.features.definitions`) to whatever learns from finished campaigns. The models are
the pre-trained ones of a campaign, which the store then remembers, or two checkpoints that no
store knows, of which nothing is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from kdopt.campaign.participants import LOGITS, Architecture
from kdopt.campaign.settings import Campaign
from kdopt.campaign.shapes import describe_shape
from kdopt.campaign.stage_settings import TRANSFER_SETS, TransferName
from kdopt.data.datasets import Dataset, load_planned_dataset
from kdopt.data.splits import Splits, make_splits
from kdopt.errors import AdviceError, ArtifactError
from kdopt.features.definitions import LogitFeatures, compare_logits, describe_pair
from kdopt.features.measurements import (
    Matrix,
    PartitionMeasurements,
    find_unmeasured_partitions,
    read_pretrained,
    write_measurements,
)
from kdopt.plugins.code import use_recorded_code
from kdopt.shown import format_count
from kdopt.store.artifacts import Artifacts
from kdopt.store.database import Store
from kdopt.store.queries import read_record
from kdopt.train.adapted import build_model, get_own_model
from kdopt.train.engine import Engine, Images
from kdopt.train.evaluation import predict_logits, score_logits
from kdopt.train.weights import load_weights
from kdopt.trials.context import Context
from kdopt.trials.interfaces import Inputs

MAX_IMAGES = 1000
"""Images of a transfer set that models are asked about. The standard error of a share of so many
is at most 1.6 pp."""

SHARE_DECIMALS = 6
"""Digits of the shares that are stored: far below what so many images can resolve."""

Positions = npt.NDArray[np.int64]


class Checkpoint(NamedTuple):
    """A model in a file, and what is known of it.

    Attributes:
        path: A safetensors file with a state dict.
        model: Name of its architecture; ``None`` for that of its participant, or else the
            campaign's.
        participant: Whose share it was trained on; ``None`` if that is not known.
    """

    path: Path
    model: str | None = None
    participant: int | None = None


def measure_campaign(
    store: Store, artifacts: Artifacts, campaign: str, engine: Engine
) -> list[str]:
    """Measure the partitions that have pre-trained models which were not measured yet.

    Returns:
        The partitions that were measured; those without a pre-trained model are left alone.

    Raises:
        KdoptError: The images are not those that were planned, or an artifact is missing or
            altered.
    """
    unmeasured = find_unmeasured_partitions(store, campaign)
    if not unmeasured:
        return []
    record = read_record(store, campaign)
    use_recorded_code(record)
    pretrained = read_pretrained(store, campaign)
    context = Context(record, load_planned_dataset(record), artifacts, engine)
    for name in unmeasured:
        # Written one by one: what is measured stays when a later partition lacks an artifact.
        write_measurements(
            store, campaign, {name: measure_partition(context, name, pretrained[name])}
        )
    return unmeasured


def measure_partition(
    context: Context, partition: str, pretrained: Inputs
) -> PartitionMeasurements:
    """Label counts of all participants, and how each pair differs on each transfer set.

    Every pre-trained model is asked about at most :data:`MAX_IMAGES` images of each participant
    and of each public set.

    Args:
        context: The campaign in this process.
        partition: One of its partitions.
        pretrained: The pre-training outcomes so far; pairs that lack one are not measured.
    """
    participants = range(context.campaign.participants)
    disagreement: dict[str, Matrix] = {}
    entropy: dict[str, Matrix] = {}
    for name in TRANSFER_SETS:
        if name != "student" and not context.campaign.transfer.size(name):
            continue
        pairs = _compare_pairs(context, partition, name, pretrained)
        disagreement[name] = _make_matrix(
            {pair: f.disagreement for pair, f in pairs.items()}, participants
        )
        entropy[name] = _make_matrix(
            {pair: f.teacher_entropy for pair, f in pairs.items()}, participants
        )
    return PartitionMeasurements(
        tuple(tuple(context.count_labels(partition, i)) for i in participants),
        tuple(pretrained[i].checkpoint if i in pretrained else None for i in participants),
        disagreement,
        entropy,
    )


def describe_checkpoints(
    campaign: Campaign,
    dataset: Dataset,
    teacher: Checkpoint,
    student: Checkpoint,
    transfer_set: TransferName,
    partition: str | None,
    engine: Engine,
) -> dict[str, float]:
    """The features of a pair of checkpoints that no store knows; nothing is written.

    The campaign's validation set scores both models. The images to distil on are the student's
    share, all training images, or a public set.

    Args:
        campaign: Its images, its validation and public sets, and its model.
        dataset: Its images.
        teacher: The teacher.
        student: The student. Without a participant, it owns all training images that are neither
            validation nor public.
        transfer_set: The images to distil on.
        partition: The campaign's partition that the participants belong to; ``None`` if the
            checkpoints have no participants, or the campaign has but one partition.
        engine: Where to compute.

    Returns:
        See :func:`kdopt.features.definitions.describe_pair`.

    Raises:
        KdoptError: A checkpoint cannot be read or does not fit its model, the partition or a
            participant does not exist, or the transfer set has no images.
    """
    splits = _make_splits(campaign, dataset, partition, (teacher, student))
    student_share = _find_share(splits, dataset, student)
    teacher_share = None if teacher.participant is None else _find_share(splits, dataset, teacher)
    transfer = _find_transfer_set(campaign, splits, transfer_set, student_share)
    models = [_load_checkpoint(one, campaign, dataset, engine) for one in (teacher, student)]
    validation = _take_images(dataset, splits.validation, engine)
    teacher_scores, student_scores = (
        score_logits(
            predict_logits(model, validation, engine), validation.labels, dataset.n_classes
        )
        for model in models
    )
    sample = sample_images(_take_images(dataset, transfer, engine))
    logits = [predict_logits(model, sample, engine).cpu().numpy() for model in models]

    def count_labels(positions: Positions | None) -> Positions | None:
        if positions is None:
            return None
        return np.bincount(dataset.train_labels[positions], minlength=dataset.n_classes)

    return describe_pair(
        teacher_scores,
        student_scores,
        count_labels(teacher_share),
        count_labels(student_share),
        compare_logits(*logits),
        len(transfer),
    )


def sample_images(images: Images) -> Images:
    """Evenly spaced images of a set, at most :data:`MAX_IMAGES`; a small set as it is."""
    if images.views == 1 and len(images) <= MAX_IMAGES:
        return images
    return images.take(_choose_sample(len(images)).to(images.pixels.device))


def _choose_sample(n_images: int) -> torch.Tensor:
    # Evenly spaced rather than drawn: the same images in any process, without a seed.
    # The first view of each: the image as it is.
    count = min(n_images, MAX_IMAGES)
    positions = np.linspace(0, n_images - 1, count).round().astype(np.int64)
    return torch.from_numpy(positions)


def _compare_pairs(
    context: Context, partition: str, transfer_set: TransferName, pretrained: Inputs
) -> dict[tuple[int, int], LogitFeatures]:
    """By (teacher, student), how the two differ on the pair's transfer set."""
    own = transfer_set == "student"
    # Each student has images of its own; a public set is the same for all, as of participant 0.
    images = {
        owner: sample_images(context.get_transfer_set(partition, owner, transfer_set))
        for owner in ([i for i in context.campaign.learners if i in pretrained] if own else [0])
    }
    logits: dict[tuple[int, int], npt.NDArray[np.float32]] = {}
    # By model first, so that only one model is in memory at a time.
    for participant, outcome in pretrained.items():
        given = context.campaign.is_given_by_logits(participant)
        model = None if given else context.load_model(outcome)
        for owner, shown in images.items():
            if model is None:
                whole = context.get_logits(outcome, partition, owner, transfer_set).cpu()
                found = whole[_choose_sample(len(whole))]
            else:
                found = predict_logits(model, shown, context.engine).cpu()
            logits[participant, owner] = found.numpy()
    return {
        (teacher, student): compare_logits(logits[teacher, owner], logits[student, owner])
        for teacher in pretrained
        for student in pretrained
        for owner in [student if own else 0]
        if teacher != student and owner in images
    }


def _make_matrix(values: Mapping[tuple[int, int], float], participants: range) -> Matrix:
    return tuple(
        tuple(
            round(values[teacher, student], SHARE_DECIMALS)
            if (teacher, student) in values
            else None
            for student in participants
        )
        for teacher in participants
    )


def _make_splits(
    campaign: Campaign, dataset: Dataset, partition: str | None, checkpoints: tuple[Checkpoint, ...]
) -> Splits:
    numbers = [c.participant for c in checkpoints if c.participant is not None]
    if partition is None and numbers and len(campaign.partitions) > 1:
        raise AdviceError(
            f"participant {numbers[0]}: of which partition? Give --partition, one of "
            f"{', '.join(p.name for p in campaign.partitions)}"
        )
    for number in numbers:
        if not 0 <= number < campaign.participants:
            raise AdviceError(
                f"participant {number}: {campaign.name} has 0 to {campaign.participants - 1}"
            )
    # Any partition will do without participants: validation and public sets are the same in all.
    name = partition or campaign.partitions[0].name
    return make_splits(
        campaign, name, dataset.train_labels, dataset.n_classes, dataset.owned, dataset.given
    )


def _find_share(splits: Splits, dataset: Dataset, checkpoint: Checkpoint) -> Positions:
    if checkpoint.participant is not None:
        return splits.train[checkpoint.participant]
    held_out = np.concatenate([splits.validation, splits.public])
    return np.setdiff1d(np.arange(len(dataset.train_labels)), held_out)


def _find_transfer_set(
    campaign: Campaign, splits: Splits, transfer_set: TransferName, student_share: Positions
) -> Positions:
    if transfer_set == "student":
        return student_share
    size = campaign.transfer.size(transfer_set)
    if not size:
        raise AdviceError(
            f"--transfer-set {transfer_set}: {campaign.name} has no such images; set "
            f"transfer.{transfer_set} in its spec"
        )
    return splits.public[:size]


def _find_architecture(checkpoint: Checkpoint, campaign: Campaign) -> Architecture:
    """What a checkpoint's model is: its participant's, with its sizes, colours and classes."""
    if checkpoint.participant is None:
        return Architecture(checkpoint.model or campaign.model)
    own = campaign.get_architecture(checkpoint.participant)
    if own.model == LOGITS:  # it has no model, so this one is not its
        return Architecture(checkpoint.model or campaign.model)
    return own if checkpoint.model in (None, own.model) else Architecture(checkpoint.model)


def _load_checkpoint(
    checkpoint: Checkpoint, campaign: Campaign, dataset: Dataset, engine: Engine
) -> nn.Module:
    kind, path = _find_architecture(checkpoint, campaign), checkpoint.path
    model = build_model(kind, dataset.shape, dataset.class_names, dataset.mean, dataset.std)
    try:
        load_weights(get_own_model(model), path)
    except OSError as error:
        reason = error.strerror or "no such file"
        raise ArtifactError(f"checkpoint {path}: cannot be read: {reason}") from error
    except ArtifactError as error:
        n_classes = len(kind.classes) or dataset.n_classes
        raise ArtifactError(
            f"checkpoint {path}: {error}; give a state dict of model '{kind.model}' for "
            f"{describe_shape(dataset.shape)} and {format_count(n_classes, 'class')}, "
            "saved with safetensors.torch.save_file or torch.save, or say whose it is (see "
            "--teacher-model, --teacher-participant and --student-participant)"
        ) from error
    return engine.move(model)


def _take_images(dataset: Dataset, positions: Positions, engine: Engine) -> Images:
    pixels = torch.from_numpy(dataset.train_images[positions]).to(engine.device)
    labels = torch.from_numpy(dataset.train_labels[positions]).to(engine.device)
    return Images(pixels, labels, dataset.mean, dataset.std)
