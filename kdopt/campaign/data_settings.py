"""The settings of ``[data]``: which images, how many, and what is done to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from kdopt.campaign.augmentation import TRANSFORM_RULE, is_transform
from kdopt.campaign.fields import KDOPT, Rule, Settings, Size, Source


@dataclass(frozen=True)
class DataSettings(Settings):
    """``[data]``: which images, and how many of them.

    Attributes:
        name: The data set.
        root: Folder of the files. Left out: the usual folders are searched. Where the files are
            does not change what a campaign means.
        train_size: Images drawn (stratified) from the training split. Left out: all.
        test_size: Images drawn (stratified) from the test split. Left out: all.
        validation_fraction: Fraction of the training images held out for selection.
        validation: ``global``: one class-balanced set, held out before partitioning, on which all
            participants are judged. ``local``: that fraction of each participant's own share, on
            which models are judged that train or are distilled there. Models of nobody (combined
            from random weights, or federated) are judged on all of these together.
        checksum: ``published`` compares files with the published checksums where there are any;
            ``none`` checks shapes only, for files you made yourself.
        drop_cifar: ``cinic10`` only: leave out the images that come from CIFAR-10.
        image_size: ``folder`` and ``cinic10`` only: side in pixels; other images are resized.
        download: Download the files (through torchvision) when they are not found.
        augment: What is done to training images, in this order: ``crop_flip`` (shifted by up to an
            eighth of the side, half of them mirrored), or transforms of torchvision by name.
        views: Views that each training image has when ``augment`` is given; the first is the
            image as it is. Epochs take them in turn. Each takes the memory of the images once
            more, and a pass of each teacher.
    """

    name: Literal["digits", "fashion_mnist", "cifar10", "cinic10", "folder"]
    root: Annotated[str | None, Source("default: the usual places are searched")] = None
    train_size: Annotated[Size | None, Source("default: all images")] = None
    test_size: Annotated[Size | None, Source("default: all images")] = None
    validation_fraction: Annotated[
        float,
        Interval(gt=0, le=0.5),
        Source("paper, section III; drawn before partitioning: kdopt"),
    ] = 0.1
    checksum: Annotated[Literal["published", "none"], KDOPT] = "published"
    drop_cifar: Annotated[bool, KDOPT] = False
    image_size: Annotated[int, Interval(ge=4, le=1024), KDOPT] = 32
    download: Annotated[bool, KDOPT] = False
    validation: Annotated[
        Literal["global", "local"], Source("default: kdopt (the paper: one validation set)")
    ] = "global"
    augment: Annotated[
        tuple[Annotated[str, Rule(TRANSFORM_RULE, is_transform)], ...],
        Source("default: none (the paper names none)"),
    ] = ()
    views: Annotated[int, Interval(ge=2, le=1000), KDOPT] = 8
