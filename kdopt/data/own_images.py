"""Images that participants bring along, in folders of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdopt.campaign.participants import ParticipantSettings
from kdopt.data.sources.base import expand_path, list_roots
from kdopt.data.sources.folder import list_class_folders
from kdopt.data.sources.image_files import decode_images
from kdopt.errors import DataError


def read_own_images(
    participant: ParticipantSettings, class_names: Sequence[str], shape: tuple[int, int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The images of a participant's folder, ``<class>/*``, in the size of the campaign's.

    A participant may lack classes. Images of another size are resized.

    Args:
        participant: With ``data``.
        class_names: Of the campaign's data set; the folders are called so.
        shape: Channels, height and width of the campaign's images.

    Returns:
        uint8 (n, C, H, W), and int64 (n,) in the order of ``class_names``.

    Raises:
        DataError: The folder is missing, or holds other classes or no images.
    """
    folder = _find_folder(participant)
    channels, height, width = shape
    if height != width:
        raise DataError(
            f"participant '{participant.name}': own images are made square, and those of the data "
            f"set are {height}x{width}; choose a data set of square images"
        )
    listed = {name: files for name, files in list_class_folders(folder).items() if files}
    unknown = sorted(listed.keys() - set(class_names))
    if unknown:
        raise DataError(
            f"{folder / unknown[0]}: the data set has no class '{unknown[0]}'; its classes are "
            f"{', '.join(class_names)}. Name the folders of participant '{participant.name}' so"
        )
    if not listed:
        raise DataError(
            f"{folder}: no class folder with images; participant '{participant.name}' needs "
            f"<class>/ with image files, the classes being {', '.join(class_names)}"
        )
    files = [file for paths in listed.values() for file in paths]
    images = decode_images(folder, files, height, channels)
    numbers = [class_names.index(name) for name in listed]
    labels = np.repeat(np.array(numbers, np.int64), [len(paths) for paths in listed.values()])
    return images, labels


def _find_folder(participant: ParticipantSettings) -> Path:
    assert participant.data is not None
    # A worker may be on another machine than the one that planned.
    places = [expand_path(root) for root in reversed(list_roots(participant.data)) if root]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        looked = ", ".join(map(str, places))
        raise DataError(
            f"participant '{participant.name}': there is no folder {looked}; give the folder of "
            "its images as 'data', or point $KDOPT_DATA at the folder that holds it"
        )
    return found
