"""Ask all models of a partition once what they say about each other's images.

No trial: nothing is trained, and what comes out decides no trial. It describes pairs (see
:mod:`kdopt.features`) to those who learn from finished campaigns.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from kdopt.facts import Matrix, PartitionFacts
from kdopt.features import Views, views_of
from kdopt.many import TransferName
from kdopt.plan import TRANSFER_SETS

if TYPE_CHECKING:
    from kdopt.stages.base import Inputs
    from kdopt.stages.context import Context

DECIMALS = 6
"""Of the shares that are kept: far below what so many images can tell."""


def measure(context: Context, partition: str, pretrained: Inputs) -> PartitionFacts:
    """Label counts of all participants, and what every pair says about every transfer set.

    Costs one pass of every pre-trained model over every participant's images and over each
    public set, and keeps one participant's images at a time.

    Args:
        context: The campaign in this process.
        partition: One of its partitions.
        pretrained: The outcomes that are there; a pair that lacks one has no views.
    """
    everyone = range(context.campaign.participants)
    views: dict[TransferName, dict[tuple[int, int], Views]] = {}
    for name in TRANSFER_SETS:
        if name == "student" or context.campaign.transfer.size(name):
            views[name] = {}
            for student in everyone:
                views[name] |= _views(context, partition, student, name, pretrained)
    return PartitionFacts(
        label_counts=tuple(tuple(context.label_counts(partition, i)) for i in everyone),
        checkpoints=tuple(pretrained[i].checkpoint if i in pretrained else None for i in everyone),
        disagreement={name: _matrix(v, everyone, "disagreement") for name, v in views.items()},
        teacher_entropy={
            name: _matrix(v, everyone, "teacher_entropy") for name, v in views.items()
        },
    )


def _views(
    context: Context, partition: str, student: int, name: TransferName, pretrained: Inputs
) -> dict[tuple[int, int], Views]:
    if student not in pretrained:
        return {}

    def logits(participant: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        found = context.logits(pretrained[participant], partition, student, name)
        array: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = found.cpu().numpy()
        return array

    mine = logits(student)
    return {
        (teacher, student): views_of(logits(teacher), mine)
        for teacher in pretrained
        if teacher != student
    }


def _matrix(views: dict[tuple[int, int], Views], everyone: Iterable[int], key: str) -> Matrix:
    people = list(everyone)
    return tuple(
        tuple(
            round(float(getattr(views[t, s], key)), DECIMALS) if (t, s) in views else None
            for s in people
        )
        for t in people
    )
