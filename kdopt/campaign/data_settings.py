"""The settings of ``[data]``: which data, how many, and what is done to them."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

from annotated_types import Interval, Len

from kdopt.campaign.fields import DISTINCT, KDOPT, Rule, Settings, Size, Source

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


OWN_SOURCES = ("digits", "fashion_mnist", "cifar10", "cinic10", "folder", "arrays")
TORCHVISION, HF = "torchvision:", "hf:"
GIVEN = "python"
"""Data that ``kdopt.tune`` was given; a file that names them is told so when they are read."""
TORCHVISION_SETS = (
    "CIFAR10", "CIFAR100", "Country211", "DTD", "EMNIST", "EuroSAT", "FashionMNIST", "FGVCAircraft",
    "Flowers102", "Food101", "Imagenette", "KMNIST", "MNIST", "QMNIST", "RenderedSST2", "STL10",
    "StanfordCars", "SVHN", "USPS",
)  # fmt: skip
"""Classes of ``torchvision.datasets`` that are read from local files, with no pickle run.

CIFAR's pickles are read by kdopt, which allows byte arrays only."""

_PLUGIN_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}\Z")

DATASET_RULE = Rule(
    "a data set of a plugin has 1 to 40 letters a-z, digits or '_', begins with a letter, and is "
    "none of kdopt's own",
    lambda v: _PLUGIN_NAME.match(v) is not None and v not in (*OWN_SOURCES, GIVEN),
)
"""What a plugin may call a data set."""

DATA_RULE = (
    f"one of {', '.join(OWN_SOURCES)}, '{TORCHVISION}NAME' with one of "
    f"{', '.join(TORCHVISION_SETS)}, '{HF}PATH', or a data set "
    "of a plugin"
)
"""What ``data.name`` may be."""


def is_data_name(name: str) -> bool:
    """Whether a text is a data set's name, see :data:`DATA_RULE`."""
    if name.startswith(TORCHVISION):
        return name.removeprefix(TORCHVISION) in TORCHVISION_SETS
    if name.startswith(HF):
        return len(name) > len(HF)
    return name in (*OWN_SOURCES, GIVEN) or DATASET_RULE.holds(name)


Number = Annotated[float, Interval(ge=-1e6, le=1e6)]


@dataclass(frozen=True)
class DataSettings(Settings):
    """``[data]``: which images, feature vectors or token ids, and how many of them.

    Attributes:
        name: The data set. ``arrays`` is a file of yours (npz, safetensors or Parquet),
            ``torchvision:NAME`` a set of torchvision, ``hf:PATH`` what Hugging Face's ``datasets``
            saved. All but ``fashion_mnist`` and ``cifar10`` are read from local files only.
        root: Folder of the files; for ``arrays`` the file, or a folder with one per split. Left
            out: the usual folders are searched. Where the files are does not change what a
            campaign means.
        train_size: Images drawn (stratified) from the training split. Left out: all.
        test_size: Images drawn (stratified) from the test split. Left out: all.
        validation_fraction: Fraction of the training images held out for selection, where the data
            have no validation split.
        validation: ``global``: one class-balanced set, held out before partitioning, on which all
            participants are judged. ``local``: that fraction of each participant's own share, on
            which models are judged that train or are distilled there. Models of nobody (combined
            from random weights, or federated) are judged on all of these together.
        checksum: ``published`` compares files with the published checksums where there are any;
            ``none`` checks shapes only, for files you made yourself.
        drop_cifar: ``cinic10`` only: leave out the images that come from CIFAR-10.
        image_size: Side in pixels of images that are files; others are resized.
        download: Download the files (through torchvision) when they are not found.
        augment: What is done to training images, in this order: ``crop_flip`` (shifted by up to an
            eighth of the side, half of them mirrored), or transforms of torchvision by name.
        views: Views that each training image has when ``augment`` is given; the first is the
            image as it is. Epochs take them in turn. Each takes the memory of the images once
            more, and a pass of each teacher.
        columns: ``arrays`` and ``hf:``: the arrays or columns with inputs and with labels, where
            these are not called as usual.
        classes: ``arrays`` and ``hf:``: the classes' names in the order of the labels. Left out:
            as the file says.
        test_fraction: ``arrays`` and ``hf:``: the share of every class that becomes the test split
            where the data have none.
        value_range: ``arrays``: the least and greatest value of images of floats. They are kept in
            256 steps, as other images are.
        padding: Token ids: the id that fills up short sequences.
        vocabulary: Token ids: they are below this. Left out: the greatest one tells.
        normalization: ``standardize``: by mean and deviation of the training data, per channel of
            images and per number of vectors. ``none``: pixels from 0 to 1 and vectors as they are.
            Token ids are never changed.
        mean: What is subtracted instead, per channel (of pixels from 0 to 1) or number; or one for
            all.
        std: What is divided by then.
    """

    name: Annotated[str, Rule(DATA_RULE, is_data_name)]
    root: Annotated[str | None, Source("default: the usual places are searched")] = None
    train_size: Annotated[Size | None, Source("default: all images")] = None
    test_size: Annotated[Size | None, Source("default: all images")] = None
    validation_fraction: Annotated[
        float,
        Interval(gt=0, lt=1),
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
    columns: Annotated[
        tuple[str, ...],
        Rule("two names: the inputs' and the labels'", lambda v: len(v) in (0, 2)),
        Source("default: the usual names"),
    ] = ()
    classes: Annotated[tuple[str, ...], DISTINCT, Source("default: those of the file")] = ()
    test_fraction: Annotated[float, Interval(gt=0, le=0.5), KDOPT] = 0.25
    value_range: Annotated[
        tuple[Number, ...],
        Rule("two numbers, the least and the greatest", lambda v: not v or _is_range(v)),
        Source("default: images are whole numbers from 0 to 255"),
    ] = ()
    padding: Annotated[
        int | None, Interval(ge=0, le=10_000_000), Source("default: data are no token ids")
    ] = None
    vocabulary: Annotated[
        int | None, Interval(ge=2, le=10_000_000), Source("default: the greatest id and one more")
    ] = None
    normalization: Annotated[Literal["standardize", "none"], KDOPT] = "standardize"
    mean: Annotated[tuple[Number, ...], Len(0), Source("default: of the training data")] = ()
    std: Annotated[
        tuple[Annotated[float, Interval(gt=0, le=1e6)], ...],
        Len(0),
        Source("default: of the training data"),
    ] = ()

    @property
    def may_have_validation(self) -> bool:
        """Whether data of this name may come with a validation split of their own."""
        return self.name == "arrays" or ":" in self.name

    @property
    def noun(self) -> str:
        """What reports call the data; they know the kind of a data set by its name only."""
        return "rows" if self.name == "arrays" or self.name.startswith(HF) else "images"


def _is_range(values: tuple[float, ...]) -> bool:
    return len(values) == 2 and values[0] < values[1]
