"""How a campaign file names augmentation: ``crop_flip``, ``ColorJitter(hue=0.1)``.

Names only, and plain values: a campaign file never says code. ``kdopt.train.augment`` does it.
"""

from __future__ import annotations

import ast
from typing import NamedTuple

CROP_FLIP = "crop_flip"
TRANSFORMS = (
    "AugMix", "AutoAugment", "ColorJitter", "ElasticTransform", "GaussianBlur",
    "RandAugment", "RandomAdjustSharpness", "RandomAffine", "RandomAutocontrast", "RandomCrop",
    "RandomEqualize", "RandomErasing", "RandomGrayscale", "RandomHorizontalFlip", "RandomInvert",
    "RandomPerspective", "RandomPosterize", "RandomResizedCrop", "RandomRotation",
    "RandomSolarize", "RandomVerticalFlip", "TrivialAugmentWide",
)  # fmt: skip
"""Transforms of ``torchvision.transforms.v2`` that take an image and give one."""

TRANSFORM_RULE = (
    f"'{CROP_FLIP}', or a transform of torchvision with plain options, such as "
    f"'RandomRotation(degrees=10)'; known are {', '.join(TRANSFORMS)}"
)


class Transform(NamedTuple):
    """One thing to do.

    Attributes:
        name: :data:`CROP_FLIP`, or one of :data:`TRANSFORMS`.
        options: Its arguments: numbers, texts, truth values and lists of them.
    """

    name: str
    options: dict[str, object]


def parse_transform(text: str) -> Transform:
    """Read ``NAME`` or ``NAME(option=value, ...)``.

    Raises:
        ValueError: It is neither, its name is not known, or a value is not a plain one.
    """
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(TRANSFORM_RULE) from None
    if isinstance(call, ast.Name):
        call = ast.Call(call, [], [])
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
        raise ValueError(TRANSFORM_RULE)
    name = call.func.id
    if name not in (CROP_FLIP, *TRANSFORMS) or (name == CROP_FLIP and call.keywords):
        raise ValueError(TRANSFORM_RULE)
    options: dict[str, object] = {}
    for keyword in call.keywords:
        if keyword.arg is None:
            raise ValueError(TRANSFORM_RULE)
        try:
            options[keyword.arg] = ast.literal_eval(keyword.value)
        except (ValueError, TypeError, RecursionError, MemoryError):
            raise ValueError(TRANSFORM_RULE) from None
    return Transform(name, options)


def is_transform(text: str) -> bool:
    """Whether :func:`parse_transform` can read it."""
    try:
        parse_transform(text)
    except ValueError:
        return False
    return True
