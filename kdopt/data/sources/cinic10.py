"""CINIC-10: CIFAR-10's classes with images of ImageNet added, 90,000 per split.

Source: L. N. Darlow et al., CINIC-10 is not ImageNet or CIFAR-10, arXiv:1810.03505.
"""

from __future__ import annotations

from pathlib import Path

from kdopt.campaign.settings import DataSettings
from kdopt.data.sources import folder
from kdopt.data.sources.places import locate
from kdopt.data.sources.raw import Raw

_LAYOUTS = ("CINIC-10", "cinic-10", "cinic10", "")
CIFAR_PREFIX = "cifar10-"
"""File names of the images that CINIC-10 took from CIFAR-10 start so."""

_FIXES = (
    "fetch CINIC-10.tar.gz from https://datashare.ed.ac.uk/handle/10283/3192 and unpack it",
    "data.root = the folder with its train, valid and test",
)


def read_cinic10(settings: DataSettings) -> Raw:
    """The train and test splits, RGB; the valid split is not used.

    Args:
        settings: Uses ``root``, ``image_size`` and ``drop_cifar``.

    Raises:
        DataError: The folders are missing or empty, or a file is damaged.
    """
    root = locate(settings, _LAYOUTS, _is_complete, _FIXES)
    skip = CIFAR_PREFIX if settings.drop_cifar else None
    return folder.read(settings.name, root, settings.image_size, channels=3, skip_prefix=skip)


def _is_complete(root: Path) -> bool:
    return all((root / split).is_dir() for split in ("train", "valid", "test"))
