"""Hugging Face data sets on disk: what ``save_to_disk`` wrote, Parquet files, or the local cache.

All are Arrow or Parquet files, which pyarrow reads (``kdopt.data.tables`` says why it does).
Nothing is ever fetched.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdopt.campaign.data_settings import HF, DataSettings
from kdopt.campaign.plain import load_json
from kdopt.data.array_checks import Part
from kdopt.data.array_files import ArrayFile
from kdopt.data.sources.arrays import NO_SPLIT, SPLIT_NAMES, ArrayParts, make_dataset, split_file
from kdopt.data.sources.base import RawDataset, expand_path
from kdopt.data.tables import read_table
from kdopt.errors import DataError
from kdopt.files import read_text
from kdopt.shown import format_count

LARGEST_NOTE = 10_000_000
_HOW = (
    "where there is a network, datasets.load_dataset('NAME').save_to_disk('FOLDER') saves one; "
    "then name it 'hf:FOLDER'"
)


def read_hf(settings: DataSettings) -> RawDataset:
    """Images, vectors or token ids that Hugging Face's ``datasets`` saved.

    Args:
        settings: Its ``name`` says the folder or the name; ``root``, where it is given, the folder.

    Raises:
        DataError: It is not here, more than one may be meant, or it is not as it should be.
    """
    said = settings.name.removeprefix(HF)
    folder = _find_folder(settings.root or said)
    parts: dict[str, Part] = {}
    names: tuple[str, ...] = ()
    for split, files in _list_splits(folder).items():
        content = ArrayFile(
            *read_table(files, settings.columns, settings.padding, settings.image_size)
        )
        found = split_file(files[0], content, settings)
        names = names or found.class_names
        if split == NO_SPLIT:
            parts = dict(found.parts)
        elif NO_SPLIT in found.parts:
            parts[split] = found.parts[NO_SPLIT]
        else:
            raise DataError(
                f"{files[0]}: its column 'split' says splits, and its name says '{split}'; drop "
                "the column"
            )
    return make_dataset(ArrayParts(parts, names), settings, str(folder))


def _find_folder(said: str) -> Path:
    folder = expand_path(said)
    if folder.is_dir():
        return folder
    places = [_datasets_cache() / said.replace("/", "___"), _hub_cache(said)]
    holding = sorted({file.parent for place in places for file in _list_files(place, "**/")})
    if not holding:
        raise DataError(
            f"data.name = '{HF}{said}': there is no folder {folder}, nor such a data set in "
            f"{places[0]} or {places[1]}, and kdopt fetches none; {_HOW}"
        )
    if len(holding) > 1:
        listed = ", ".join(map(str, holding[:5]))
        raise DataError(
            f"data.name = '{HF}{said}': {format_count(len(holding), 'folder')} in the cache have "
            f"such files ({listed}); name one of them"
        )
    return holding[0]


def _datasets_cache() -> Path:
    own = os.environ.get("HF_DATASETS_CACHE")
    return expand_path(own) if own else _hf_home() / "datasets"


def _hub_cache(said: str) -> Path:
    own = os.environ.get("HF_HUB_CACHE")
    hub = expand_path(own) if own else _hf_home() / "hub"
    return hub / f"datasets--{said.replace('/', '--')}" / "snapshots"


def _hf_home() -> Path:
    return expand_path(os.environ.get("HF_HOME") or "~/.cache/huggingface")


def _list_files(folder: Path, within: str = "") -> list[Path]:
    return sorted(f for ending in ("arrow", "parquet") for f in folder.glob(f"{within}*.{ending}"))


def _list_splits(folder: Path) -> dict[str, list[Path]]:
    """The files of each split, in order; under no split, all that are there."""
    found: dict[str, list[Path]] = {}
    saved = folder / "dataset_dict.json"
    if saved.is_file():
        for name in map(str, _read_note(saved, "splits")):
            _check_split_name(name, folder)
            _add_files(found, name, _list_saved(folder / name))
    elif (folder / "state.json").is_file():
        found[NO_SPLIT] = _list_saved(folder)
    else:
        for file in _list_files(folder) or _list_files(folder, "*/"):
            _add_files(found, _guess_split(file, folder), [file])
    if not found:
        raise DataError(
            f"{folder}: no data set in it: neither what save_to_disk writes (dataset_dict.json or "
            f"state.json) nor Parquet or Arrow files; {_HOW}"
        )
    if NO_SPLIT in found and len(found) > 1:
        raise DataError(
            f"{folder}: {found[NO_SPLIT][0].name} is of no split, and others are; begin the names "
            "of files with train, validation or test"
        )
    return found


def _check_split_name(name: str, folder: Path) -> None:
    if name not in SPLIT_NAMES:
        raise DataError(
            f"{folder}: split '{name}'; kdopt knows {', '.join(SPLIT_NAMES)}: save these splits "
            "only"
        )


def _add_files(found: dict[str, list[Path]], name: str, files: list[Path]) -> None:
    found.setdefault(SPLIT_NAMES.get(name, NO_SPLIT), []).extend(files)


def _guess_split(file: Path, folder: Path) -> str:
    """``train-00000-of-00002.parquet``, ``NAME-train.arrow`` or ``train/0000.parquet``."""
    words = [*file.stem.replace("_", "-").split("-")]
    if file.parent != folder:
        words.append(file.parent.name)
    return next((word for word in words if word in SPLIT_NAMES), NO_SPLIT)


def _list_saved(folder: Path) -> list[Path]:
    note = folder / "state.json"
    if _read_note(note, "_indices_data_files", optional=True):
        raise DataError(
            f"{folder}: it was saved with a selection of rows beside it; call flatten_indices() "
            "before save_to_disk"
        )
    rows: Sequence[Any] = _read_note(note, "_data_files")
    names = [str(row.get("filename", "")) if isinstance(row, dict) else "" for row in rows]
    # Names that lead elsewhere are no part of the folder.
    files = [folder / Path(name).name for name in names]
    lost = next((file for file in files if not file.is_file()), None)
    if lost is not None or not files:
        raise DataError(f"{folder}: {lost or 'its data'} is missing; copy the whole folder again")
    return files


def _read_note(path: Path, key: str, optional: bool = False) -> list[object]:
    try:
        found = load_json(read_text(path, LARGEST_NOTE)).get(key)
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read ({error}); copy the whole folder again") from error
    if not isinstance(found, list):
        if optional:
            return []
        raise DataError(f"{path}: it has no list '{key}'; save the data set again")
    return found
