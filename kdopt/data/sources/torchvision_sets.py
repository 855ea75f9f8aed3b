"""Classification sets of torchvision by name, from local files: never downloaded, no pickle run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdopt.campaign.data_settings import TORCHVISION, DataSettings
from kdopt.campaign.names import seed_for
from kdopt.data.sources.base import RawDataset, list_folders
from kdopt.data.sources.cifar10 import read_cifar10, read_cifar100
from kdopt.data.sources.image_files import decode_image
from kdopt.data.splits import draw_stratified
from kdopt.errors import DataError


class _Form(NamedTuple):
    """How a class of torchvision is asked for its splits.

    Attributes:
        train: Options for the training split.
        test: Options for the test split; ``None`` where the set has none.
        validation: Options for the validation split, if it has one.
    """

    train: Mapping[str, object]
    test: Mapping[str, object] | None
    validation: Mapping[str, object] | None = None


def _name_splits(train: str, test: str, validation: str | None = None) -> _Form:
    held = None if validation is None else {"split": validation}
    return _Form({"split": train}, {"split": test}, held)


_BY_FLAG = _Form({"train": True}, {"train": False})
_BALANCED = {"split": "balanced"}
FORMS_OF: Mapping[str, _Form] = {
    "MNIST": _BY_FLAG,
    "FashionMNIST": _BY_FLAG,
    "KMNIST": _BY_FLAG,
    "QMNIST": _BY_FLAG,
    "USPS": _BY_FLAG,
    "EMNIST": _Form({**_BALANCED, "train": True}, {**_BALANCED, "train": False}),
    "SVHN": _name_splits("train", "test"),
    "STL10": _name_splits("train", "test"),
    "Imagenette": _name_splits("train", "val"),
    "Flowers102": _name_splits("train", "test", "val"),
    "DTD": _name_splits("train", "test", "val"),
    "Food101": _name_splits("train", "test"),
    "FGVCAircraft": _name_splits("train", "test", "val"),
    "RenderedSST2": _name_splits("train", "test", "val"),
    "Country211": _name_splits("train", "test", "valid"),
    "StanfordCars": _name_splits("train", "test"),
    "EuroSAT": _Form({}, None),
}
_OF_FILES = frozenset(
    ("Imagenette", "Flowers102", "DTD", "Food101", "FGVCAircraft", "RenderedSST2", "Country211",
     "StanfordCars", "EuroSAT")
)  # fmt: skip
"""Sets whose images are files: they are decoded by kdopt, which allows image formats only."""


def read_torchvision(settings: DataSettings) -> RawDataset:
    """A set of torchvision; images that are files are resized, others are as they are.

    A set without a test split gets one, as ``data.test_fraction`` says.

    Args:
        settings: Uses ``name``, ``root``, ``image_size`` and ``test_fraction``.

    Raises:
        DataError: The files are not here, or damaged.
    """
    name = settings.name.removeprefix(TORCHVISION)
    if name in ("CIFAR10", "CIFAR100"):
        return read_cifar10(settings) if name == "CIFAR10" else read_cifar100(settings)
    form = FORMS_OF[name]
    root = _find_root(name, form, settings)
    train = _open_split(name, root, form.train, settings)
    images, labels = _take_images(name, train, settings)
    names = _name_classes(train, labels)
    if form.test is None:
        size = round(settings.test_fraction * len(labels))
        test = draw_stratified(labels, size, np.random.default_rng(seed_for(name, "test")))
        rest = np.setdiff1d(np.arange(len(labels)), test)
        return RawDataset(
            settings.name, images[rest], labels[rest], images[test], labels[test], names
        )
    test_images, test_labels = _take_images(
        name, _open_split(name, root, form.test, settings), settings
    )
    held: tuple[Any, Any] = (None, None)
    if form.validation is not None:
        held = _take_images(name, _open_split(name, root, form.validation, settings), settings)
    return RawDataset(settings.name, images, labels, test_images, test_labels, names, *held)


def _find_root(name: str, form: _Form, settings: DataSettings) -> Path:
    """The first folder in which torchvision finds the training split."""
    faults = []
    folders = list_folders(settings.root, ("",))
    for folder in folders:
        try:
            _make_dataset(name, folder, form.train, settings)
        except Exception as error:  # torchvision raises anything about files that are not there
            faults.append(f"    {folder}: {' '.join(str(error).split())[:150]}")
        else:
            return folder
    raise DataError(
        f"{settings.name}: torchvision finds it in none of these folders:\n"
        + "\n".join(faults)
        + "\n  What you can do:\n    "
        f"torchvision.datasets.{name}('FOLDER', ..., download=True) where there is a network, then "
        'data.root = "FOLDER"; kdopt reads local files only'
    )


def _open_split(
    name: str, root: Path, options: Mapping[str, object], settings: DataSettings
) -> Any:
    try:
        return _make_dataset(name, root, options, settings)
    except Exception as error:  # as above
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{settings.name}: {root}: {reason}; fetch the files of all splits again"
        ) from error


def _make_dataset(
    name: str, root: Path, options: Mapping[str, object], settings: DataSettings
) -> Any:
    import torchvision.datasets  # only here: it imports torch

    asked = dict(options)
    if name in _OF_FILES:
        asked["loader"] = _make_loader(settings.image_size)
    return getattr(torchvision.datasets, name)(str(root), download=False, **asked)


def _make_loader(image_size: int) -> Callable[[str | Path], NDArray[np.uint8]]:
    return lambda path: decode_image(Path(path), image_size, 3)


def _take_images(
    name: str, split: Iterable[Any], settings: DataSettings
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All images, uint8 (n, channels, height, width), and their labels."""
    images, labels = [], []
    try:
        for index in range(len(split)):  # type: ignore[arg-type]
            image, label = split[index]  # type: ignore[index]
            pixels = np.asarray(image, np.uint8)
            if name not in _OF_FILES:
                pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
            images.append(pixels)
            labels.append(int(label))
    except DataError:
        raise
    except Exception as error:  # of torchvision about damaged files, in any way
        raise DataError(
            f"{settings.name}: image {len(images)} cannot be read "
            f"({' '.join(str(error).split())[:150]}); fetch the files again"
        ) from error
    return np.stack(images), np.array(labels, np.int64)


def _name_classes(split: Any, labels: NDArray[np.int64]) -> tuple[str, ...]:
    found = [name if isinstance(name, str) else ", ".join(name) for name in _list_names(split)]
    count = int(labels.max()) + 1
    if len(found) >= count and len(set(found)) == len(found):
        return tuple(found)
    return tuple(f"class {number}" for number in range(count))


def _list_names(split: Any) -> list[Any]:
    return list(getattr(split, "classes", ()))
