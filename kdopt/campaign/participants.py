"""``[[participant]]``: participants by name, with models, weights and images of their own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

from annotated_types import Interval, Len

from kdopt.campaign.fields import DISTINCT, KDOPT, NAME_RULE, Rule, Settings, Source

_MODEL = re.compile(r"(?:(?:timm|torchvision):)?[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z")

MODEL_RULE = Rule(
    "a model is NAME, timm:NAME or torchvision:NAME, of letters, digits, '_', '.' and '-'",
    lambda v: v is None or _MODEL.match(v) is not None,
)


def split_model_name(name: str) -> tuple[str, str]:
    """The library that a model's name begins with, empty if none, and the rest of it.

    >>> split_model_name("timm:vit_tiny_patch16_224")
    ('timm', 'vit_tiny_patch16_224')
    """
    library, colon, rest = name.partition(":")
    return (library, rest) if colon else ("", name)


_Number = Annotated[float, Interval(ge=-1e6, le=1e6)]

ABSENT = -30.0
"""Logit of a class that a model lacks, below its least one: a probability of 1e-13 at most."""

LOGITS = "logits"
"""What stands for the model of a participant that is given by its logits."""


@dataclass(frozen=True)
class ParticipantSettings(Settings):
    """``[[participant]]``: one participant. Without ``weights`` it is pre-trained as any other.

    Attributes:
        name: How reports call it.
        model: Its model. Left out: the campaign's.
        weights: File with its weights: safetensors, or a state dict that torch saved. It is then
            scored, and never trained again.
        data: Folder of its own images, ``<class>/*``, or a file of arrays with labels: what it
            trains on, and is distilled on when it is the student. Without it, in partition
            ``own``, it can only teach.
        classes: The classes of its model's outputs, in their order, where these are not those of
            the data set in its order. Classes that the model lacks get no probability.
        image_size: Side in pixels of the images that its model takes: they are resized for it.
        channels: Channels that its model takes: 3 for a model of colour images on grey ones.
        mean: Per channel, how its model wants images normalised, of pixels from 0 to 1. Left out:
            as the data set's.
        std: Likewise.
        logits: File with its logits of the images that others are distilled on (``kdopt images``
            lists them): it has no model here, and can only teach.
        outputs: What that file holds: logits (log-probabilities are such), or probabilities.
    """

    name: Annotated[str, NAME_RULE]
    model: Annotated[str | None, MODEL_RULE, Source("default: the campaign's model")] = None
    weights: Annotated[str | None, Source("default: none, it is pre-trained")] = None
    data: Annotated[str | None, Source("default: the share that the partition deals")] = None
    classes: Annotated[tuple[str, ...], DISTINCT, Source("default: those of the data set")] = ()
    image_size: Annotated[
        int | None, Interval(ge=4, le=1024), Source("default: that of the data set")
    ] = None
    channels: Annotated[
        int | None, Interval(ge=1, le=3), Source("default: those of the data set")
    ] = None
    mean: Annotated[tuple[_Number, ...], Len(0, 3), KDOPT] = ()
    std: Annotated[tuple[Annotated[float, Interval(gt=0, le=1e6)], ...], Len(0, 3), KDOPT] = ()
    logits: Annotated[str | None, Source("default: none, it has a model")] = None
    outputs: Annotated[Literal["logits", "probabilities"], KDOPT] = "logits"


class Architecture(NamedTuple):
    """What a participant's model is, and what stands between it and the campaign's images.

    Attributes:
        model: Its name.
        classes: See :class:`ParticipantSettings`.
        image_size: Likewise.
        channels: Likewise.
        mean: Likewise.
        std: Likewise.
    """

    model: str
    classes: tuple[str, ...] = ()
    image_size: int | None = None
    channels: int | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether the model takes the campaign's images and gives its classes as they are."""
        return self == Architecture(self.model)
