"""Where data files are looked for, and how they get there when a download is asked for.

The one file of the data layer that reads environment variables: ``KDOPT_DATA`` (a folder of data
sets) and ``KDOPT_CACHE`` (where decoded images are kept).
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from kdopt.campaign.settings import DataSettings
from kdopt.errors import DataError

logger = logging.getLogger(__name__)

TorchvisionName = Literal["FashionMNIST", "CIFAR10"]


def cache_dir() -> Path:
    """Folder of what can be computed again: ``$KDOPT_CACHE`` or ``~/.cache/kdopt``."""
    return Path(os.environ.get("KDOPT_CACHE") or "~/.cache/kdopt").expanduser()


def download_dir(root: str | None) -> Path:
    """Folder that downloads go to: ``root``, ``$KDOPT_DATA`` or ``~/.cache/kdopt/data``."""
    return expand(root or os.environ.get("KDOPT_DATA") or "~/.cache/kdopt/data")


def expand(place: str) -> Path:
    """A path with ``~`` resolved.

    Raises:
        DataError: The user whose home is meant is not known here.
    """
    try:
        return Path(place).expanduser()
    except RuntimeError as error:
        raise DataError(f"{place}: {error}; write the whole path") from error


def candidates(root: str | None, layouts: Sequence[str]) -> list[Path]:
    """Folders to look in, best first.

    A root that was given is the only place: to fall back silently on other files than the user
    named would train on other data than the campaign says.

    Args:
        root: ``data.root`` of the campaign, or ``None``.
        layouts: Folders below each place, ``""`` for the place itself.
    """
    if root is not None:
        places = [expand(root)]
    else:
        own = os.environ.get("KDOPT_DATA")
        usual = ("data", "~/.cache/kdopt/data", "/usr/share/datasets")
        places = [expand(p) for p in ((own,) if own else ()) + usual]
    return [place / layout for place in places for layout in layouts]


def locate(
    settings: DataSettings,
    layouts: Sequence[str],
    is_complete: Callable[[Path], bool],
    fixes: Sequence[str],
    torchvision_name: TorchvisionName | None = None,
) -> Path:
    """The first folder that holds all files of a data set; downloads them where that is asked.

    Args:
        settings: Uses ``name``, ``root`` and ``download``.
        layouts: Folders below each place that may hold the files.
        is_complete: Whether a folder holds all files.
        fixes: Ways out, for the message.
        torchvision_name: torchvision's class that can fetch the files, if there is one.

    Raises:
        DataError: Not found and not to be downloaded, or the download failed.
    """
    folders = candidates(settings.root, layouts)
    found = next((f for f in folders if is_complete(f)), None)
    if found is None and settings.download and torchvision_name is not None:
        place = download_dir(settings.root)
        _download(torchvision_name, place)
        folders = [place / layout for layout in layouts]
        found = next((f for f in folders if is_complete(f)), None)
    if found is None:
        looked = "\n".join(f"    {f}" for f in folders)
        ways = "\n".join(f"    {fix}" for fix in fixes)
        raise DataError(
            f"{settings.name}: no folder with all of its files. Looked in\n{looked}\n"
            f"  Ways out:\n{ways}"
        )
    return found


def _download(torchvision_name: TorchvisionName, place: Path) -> None:
    """Fetch into a folder of our own, then move file by file.

    Workers may download at the same time: with ``os.replace`` each file is whole whenever it can
    be seen, and who comes last replaces it by the same content.
    """
    logger.warning("downloading %s to %s", torchvision_name, place)
    try:
        import torchvision.datasets

        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place, prefix=".download-") as temporary:
            # stdout carries kdopt's results only
            with contextlib.redirect_stdout(sys.stderr):
                getattr(torchvision.datasets, torchvision_name)(temporary, download=True)
            for file in Path(temporary).rglob("*"):
                if file.is_file():
                    target = place / file.relative_to(temporary)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    file.replace(target)
    except Exception as error:  # a network library may raise anything; all of it means "failed"
        raise DataError(
            f"{torchvision_name}: the download to {place} failed ({type(error).__name__}: "
            f"{error}); fetch the files on a machine with network access and point data.root or "
            "$KDOPT_DATA at them"
        ) from error
