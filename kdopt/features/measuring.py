"""Ask all models of a partition once what they say about each other's images.

No trial: nothing is trained, and what comes out decides no trial. It describes pairs (see
:mod:`kdopt.features.definitions`) to those who learn from finished campaigns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kdopt.campaign.stage_settings import TRANSFER_SETS, TransferName
from kdopt.features.definitions import views_of
from kdopt.features.partition_facts import Matrix, PartitionFacts

if TYPE_CHECKING:
    from torch import Tensor

    from kdopt.train.engine import Images
    from kdopt.trials.base import Inputs
    from kdopt.trials.context import Context

ASKED = 1000
"""Images of a transfer set that models are asked about: shares of so many are known to 1.6 pp."""

DECIMALS = 6
"""Of the shares that are kept: far below what so many images can tell."""

Logits = npt.NDArray[np.float32]


def measure(context: Context, partition: str, pretrained: Inputs) -> PartitionFacts:
    """Label counts of all participants, and what every pair says about every transfer set.

    Every pre-trained model is asked about at most :data:`ASKED` images of each participant and of
    each public set.

    Args:
        context: The campaign in this process.
        partition: One of its partitions.
        pretrained: The outcomes that are there; a pair that lacks one has no views.
    """
    people = range(context.campaign.participants)
    disagreement: dict[str, Matrix] = {}
    entropy: dict[str, Matrix] = {}
    for name in TRANSFER_SETS:
        if name != "student" and not context.campaign.transfer.size(name):
            continue
        said = _said(context, partition, name, pretrained)
        views = {
            (teacher, student): views_of(said[teacher, place], said[student, place])
            for teacher in pretrained
            for student in pretrained
            for place in [student if name == "student" else 0]
            if teacher != student
        }
        disagreement[name] = _matrix({pair: v.disagreement for pair, v in views.items()}, people)
        entropy[name] = _matrix({pair: v.teacher_entropy for pair, v in views.items()}, people)
    return PartitionFacts(
        tuple(tuple(context.label_counts(partition, i)) for i in people),
        tuple(pretrained[i].checkpoint if i in pretrained else None for i in people),
        disagreement,
        entropy,
    )


def asked_of(images: Images) -> Images:
    """Evenly spaced images of a set, at most :data:`ASKED`; a small set as it is."""
    import torch

    if len(images) <= ASKED:
        return images
    positions = np.linspace(0, len(images) - 1, ASKED).round().astype(np.int64)
    index: Tensor = torch.from_numpy(positions).to(images.pixels.device)
    return images.take(index)


def _said(
    context: Context, partition: str, name: TransferName, pretrained: Inputs
) -> dict[tuple[int, int], Logits]:
    """Logits of every model about every place: the participant whose images they are, or 0."""
    from kdopt.train.fit import predict

    places = {
        place: asked_of(context.transfer_set(partition, place, name))
        for place in (pretrained if name == "student" else [0])
    }
    said: dict[tuple[int, int], Logits] = {}
    for participant, outcome in pretrained.items():
        model = context.load_model(outcome)
        for place, images in places.items():
            said[participant, place] = predict(model, images, context.engine).cpu().numpy()
    return said


def _matrix(values: Mapping[tuple[int, int], float], people: range) -> Matrix:
    return tuple(
        tuple(round(values[t, s], DECIMALS) if (t, s) in values else None for s in people)
        for t in people
    )
