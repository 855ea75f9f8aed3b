"""Augmented views of a set of images, drawn once and kept.

Every image has a fixed number of views, each drawn from the seed. Epochs take the views in turn.
So the teacher sees the very pixels that the student sees, its logits can be kept (one pass per
view serves all trials of the pair, and there are never more views than epochs need), and a trial
stays a pure function of campaign and cell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from kdopt.campaign.data_settings import CROP_FLIP, parse_transform
from kdopt.errors import KdoptError
from kdopt.train.engine import Images, seeded

PADDING = 8
"""``crop_flip`` pads each side by this part of the image's side: 4 of 32 pixels."""


def make_views(images: Images, augment: Sequence[str], views: int, seed: int) -> Images:
    """The images, then their other views: view ``v`` of image ``i`` is at ``v * len(images) + i``.

    The first view is the image as it is.

    Args:
        images: A set without views.
        augment: What is done, in this order; see ``kdopt.campaign.data_settings``.
        views: How many each image has, the first among them.
        seed: Of all that is drawn.

    Raises:
        KdoptError: A transform does not take these images or options.
    """
    # On the CPU, so that every device sees the same views.
    pixels = images.pixels.cpu()
    with seeded(seed, torch.device("cpu")):
        made = [pixels, *(draw_view(pixels, augment) for _ in range(1, views))]
    return images.with_views(torch.cat(made).to(images.labels.device), views)


def draw_view(pixels: Tensor, augment: Sequence[str]) -> Tensor:
    """One more view of uint8 images (n, channels, height, width), from torch's global generator.

    Raises:
        KdoptError: A transform does not take these images or options.
    """
    for text in augment:
        pixels = _apply_transform(text, make_transform(text), pixels)
    return pixels


def make_transform(text: str) -> Callable[[Tensor], Tensor]:
    """What turns uint8 images (n, channels, height, width) into others.

    Raises:
        KdoptError: Its options are not those of the transform.
    """
    name, options = parse_transform(text)
    if name == CROP_FLIP:
        return crop_and_flip
    # Slow to import, and rarely asked for.
    from torchvision.transforms import v2

    try:
        transform = getattr(v2, name)(**options)
    except (TypeError, ValueError) as error:
        raise KdoptError(f"data.augment: {text}: {error}; see torchvision.transforms.v2") from error

    def transform_each(pixels: Tensor) -> Tensor:
        # One by one: in a batch, all images would be turned by the same angle.
        return torch.stack([transform(image) for image in pixels])

    return transform_each


def crop_and_flip(pixels: Tensor) -> Tensor:
    """Shift every image by up to an eighth of its side, black coming in, and mirror half of them.

    The usual augmentation of CIFAR-10 (He et al., 2016, section 4.2).
    """
    n, _, height, width = pixels.shape
    down, right = (max(1, side // PADDING) for side in (height, width))
    padded = torch.nn.functional.pad(pixels, (right, right, down, down))
    top, left = (torch.randint(2 * most + 1, (n, 1)) for most in (down, right))
    columns = torch.arange(width).expand(n, width)
    columns = torch.where(torch.rand(n, 1) < 0.5, columns.flip(1), columns) + left
    rows = torch.arange(height) + top
    # (n, height, width, channels): advanced indices in a row come first.
    taken = padded.permute(0, 2, 3, 1)[
        torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]
    ]
    return taken.permute(0, 3, 1, 2).contiguous()


def _apply_transform(text: str, transform: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
    try:
        found = transform(pixels)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise KdoptError(
            f"data.augment: {text} does not take images of {_describe_pixels(pixels)}: {reason}"
        ) from error
    if found.shape != pixels.shape or found.dtype != pixels.dtype:
        raise KdoptError(
            f"data.augment: {text} makes images of {_describe_pixels(pixels)} into "
            f"{_describe_pixels(found)}; "
            "views have the shape and type of the images"
        )
    return found


def _describe_pixels(pixels: Tensor) -> str:
    return f"{'x'.join(map(str, pixels.shape[1:]))} {str(pixels.dtype).removeprefix('torch.')}"
