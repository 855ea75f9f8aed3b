"""A participant's model between the campaign's images and its own: size, colours, classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdopt.campaign.participants import ABSENT, Architecture
from kdopt.campaign.shapes import Shape, describe_shape, get_kind
from kdopt.errors import KdoptError
from kdopt.shown import format_count
from kdopt.train.models import make_model


class AdaptedModel(nn.Module):
    """A model that takes other images, or gives other classes, than the campaign's.

    Args:
        model: The model.
        shape: Of the images that it takes.
        scale: Per channel of the campaign's images, to multiply them by.
        shift: Per channel, to add then.
        outputs: The campaign's class of each output; empty where they are the same.
        n_classes: Of the campaign.
    """

    def __init__(
        self,
        model: nn.Module,
        shape: Shape,
        scale: Sequence[float],
        shift: Sequence[float],
        outputs: Sequence[int],
        n_classes: int,
    ) -> None:
        super().__init__()
        self._scale: Tensor
        self._shift: Tensor
        self._outputs: Tensor
        self.model = model
        self._shape, self._n_classes = shape, n_classes
        self._is_image = get_kind(shape) == "images"
        scales, shifts = (torch.tensor(v).reshape(1, -1, 1, 1) for v in (scale, shift))
        self.register_buffer("_scale", scales, persistent=False)
        self.register_buffer("_shift", shifts, persistent=False)
        self.register_buffer("_outputs", torch.tensor(outputs, dtype=torch.int64), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images of the campaign to logits of its classes, (batch, classes)."""
        logits: Tensor = self.model(self._adapt_images(images) if self._is_image else images)
        if not len(self._outputs):
            return logits
        floor = logits.detach().amin(dim=1, keepdim=True) + ABSENT
        whole = floor.expand(-1, self._n_classes).clone()
        return whole.index_copy(1, self._outputs, logits)

    def _adapt_images(self, images: Tensor) -> Tensor:
        channels, height, width = self._shape
        images = images * self._scale + self._shift
        if images.shape[1] != channels:
            images = images.expand(-1, channels, -1, -1)
        if images.shape[2:] != (height, width):
            images = functional.interpolate(images, (height, width), mode="bilinear")
        return images


def get_own_model(model: nn.Module) -> nn.Module:
    """A participant's model without what stands around it: its names are those it came with."""
    return model.model if isinstance(model, AdaptedModel) else model


def build_model(
    architecture: Architecture,
    shape: Shape,
    class_names: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
) -> nn.Module:
    """A participant's model for a campaign's images; its weights come from torch's generator.

    Args:
        architecture: What it is.
        shape: Of the campaign's images.
        class_names: Of the campaign.
        mean: How the campaign's images are normalised, per channel.
        std: Likewise.

    Raises:
        KdoptError: There is no such model, or it cannot take these images or give these classes.
    """
    if architecture.is_plain:
        return make_model(architecture.model, shape, len(class_names))
    name = architecture.model
    unknown = sorted(set(architecture.classes) - set(class_names))
    if unknown:
        raise KdoptError(
            f"model '{name}': classes = ... '{unknown[0]}' ...: the data set has no such class; "
            f"its classes are {', '.join(class_names)}"
        )
    if get_kind(shape) != "images":
        return _build_for_others(architecture, shape, class_names)
    channels = architecture.channels or shape[0]
    if shape[0] not in (1, channels):
        raise KdoptError(
            f"model '{name}': channels = {channels}, and the images have {shape[0]}; leave it out"
        )
    own = (len(architecture.mean), len(architecture.std))
    if own not in ((0, 0), (channels, channels)):
        raise KdoptError(
            f"model '{name}': {format_count(own[0], 'value')} of mean and {own[1]} of std for "
            f"{format_count(channels, 'channel')}"
        )
    side = architecture.image_size
    taken = (channels, side or shape[1], side or shape[2])
    classes = architecture.classes or tuple(class_names)
    outputs = [list(class_names).index(c) for c in classes] if architecture.classes else []
    scale, shift = _convert_normalization(architecture, channels, mean, std)
    inner = make_model(name, taken, len(classes))
    return AdaptedModel(inner, taken, scale, shift, outputs, len(class_names))


def _build_for_others(
    architecture: Architecture, shape: Shape, class_names: Sequence[str]
) -> nn.Module:
    """A model of vectors or token ids, which are as the model takes them."""
    name = architecture.model
    for key in ("image_size", "channels", "mean", "std"):
        if getattr(architecture, key):
            raise KdoptError(
                f"model '{name}': {key} is for images, and the data are {describe_shape(shape)}; "
                "leave it out"
            )
    outputs = [list(class_names).index(c) for c in architecture.classes]
    inner = make_model(name, shape, len(outputs))
    return AdaptedModel(inner, shape, (), (), outputs, len(class_names))


def _convert_normalization(
    architecture: Architecture, channels: int, mean: Sequence[float], std: Sequence[float]
) -> tuple[list[float], list[float]]:
    """From images normalised in one way to the other: what to multiply by, and what to add."""
    if not architecture.mean:
        return [1.0] * len(mean), [0.0] * len(mean)
    means, stds = ([*v] * (channels if len(v) == 1 else 1) for v in (mean, std))
    pairs = list(zip(means, stds, architecture.mean, architecture.std, strict=True))
    return [s / b for _, s, _, b in pairs], [(m - a) / b for m, _, a, b in pairs]
