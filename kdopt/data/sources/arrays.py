"""Data sets that are arrays: one file of yours, or one per split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdopt.campaign.data_settings import DataSettings
from kdopt.campaign.names import seed_for
from kdopt.campaign.shapes import InputKind, TokenShape
from kdopt.data.array_checks import Part, check_apart, find_kind, make_items, make_labels
from kdopt.data.array_files import ARRAY_SUFFIXES, ArrayFile, read_array_file
from kdopt.data.sources.base import RawDataset, expand_path
from kdopt.data.splits import draw_stratified
from kdopt.errors import DataError
from kdopt.shown import format_count

INPUT_NAMES: Mapping[str, InputKind | None] = {
    "images": "images",
    "vectors": "vectors",
    "features": "vectors",
    "tokens": "tokens",
    "input_ids": "tokens",
    "x": None,
}
"""What arrays of inputs may be called, and what they then hold."""

LABEL_NAMES = ("labels", "label", "y", "targets")
SPLIT_NAMES: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "test": "test",
}
"""What splits may be called."""

NO_SPLIT = ""


class ArrayParts(NamedTuple):
    """The splits of a data set; under the name of none, what is still to be split.

    Attributes:
        parts: By split.
        class_names: In the order of the labels, where a file says them.
    """

    parts: Mapping[str, Part]
    class_names: tuple[str, ...]


def read_array_set(settings: DataSettings) -> RawDataset:
    """Images, feature vectors or token ids of the user.

    Args:
        settings: Uses ``root`` and what says how arrays are to be read.

    Raises:
        DataError: A file is missing or damaged, or arrays do not fit together.
    """
    if settings.root is None:
        raise DataError(
            "data.name = 'arrays' without data.root; set data.root to a file that ends in "
            f"{', '.join(ARRAY_SUFFIXES)}, or a folder with one for each of train, validation, test"
        )
    path = expand_path(settings.root)
    return make_dataset(read_parts(path, settings), settings, str(path))


def read_parts(path: Path, settings: DataSettings) -> ArrayParts:
    """The splits in a file, or in a folder with a file per split.

    Raises:
        DataError: There are none, or a file cannot be read.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; give the file of arrays as data.root")
    if not path.is_dir():
        return split_file(path, _read_file(path, settings), settings)
    found: dict[str, Part] = {}
    names: tuple[str, ...] = ()
    for file in sorted(path.iterdir()):
        split = SPLIT_NAMES.get(file.stem)
        if split is None or file.suffix not in ARRAY_SUFFIXES:
            continue
        if split in found:
            raise DataError(f"{file}: a second file of the split '{split}'; keep one of them")
        content = _read_file(file, settings)
        parts = split_file(file, content, settings).parts
        if NO_SPLIT not in parts:
            raise DataError(
                f"{file}: it has splits within it, and its name says '{split}'; give one file with "
                "all splits, or one file for each"
            )
        found[split] = parts[NO_SPLIT]
        names = names or content.class_names
    if not found:
        raise DataError(
            f"{path}: no file of arrays called train, validation or test, ending in "
            f"{', '.join(ARRAY_SUFFIXES)}; name the files so, or give one file as data.root"
        )
    return ArrayParts(found, names)


def _read_file(path: Path, settings: DataSettings) -> ArrayFile:
    return read_array_file(path, settings.columns, settings.padding, settings.image_size)


def split_file(path: Path, content: ArrayFile, settings: DataSettings) -> ArrayParts:
    """The splits within a file: by the names of its arrays, or a column ``split``.

    Raises:
        DataError: It has no inputs, or too many, or splits that are not known.
    """
    inputs: dict[str, tuple[str, InputKind | None]] = {}
    labels: dict[str, str] = {}
    own = dict(zip(settings.columns, ("input", "label"), strict=False))
    for name in content.arrays:
        split, plain = (NO_SPLIT, name) if name in own else _take_split(name)
        if own.get(name) == "input" or (not own and plain in INPUT_NAMES):
            if split in inputs:
                raise DataError(
                    f"{path}: '{inputs[split][0]}' and '{name}' are both inputs; name those to be "
                    "used, and their labels, in data.columns"
                )
            inputs[split] = name, INPUT_NAMES.get(plain)
        elif own.get(name) == "label" or (not own and plain in LABEL_NAMES):
            labels[split] = name
    if path.suffix in (".parquet", ".arrow"):  # there the table's reader has found them already
        inputs, labels = _name_columns(content)
    if not inputs:
        raise DataError(
            f"{path}: no array of inputs among {', '.join(content.arrays) or 'none at all'}; call "
            f"it one of {', '.join(INPUT_NAMES)}, with train_, validation_ or test_ before it "
            "where the file has splits, or name it in data.columns"
        )
    parts = {
        split: Part(
            f"{path}, {name}",
            kind,
            content.arrays[name],
            content.arrays[labels[split]] if split in labels else None,
        )
        for split, (name, kind) in inputs.items()
    }
    if NO_SPLIT in parts and len(parts) > 1:
        named = ", ".join(sorted(parts.keys() - {NO_SPLIT}))
        raise DataError(
            f"{path}: '{inputs[NO_SPLIT][0]}' has no split in its name, and others have ({named}); "
            "name all of them so, or give one array"
        )
    if NO_SPLIT in parts and "split" in content.arrays:
        parts = _cut_by_column(parts[NO_SPLIT], content.arrays["split"])
    return ArrayParts(parts, content.class_names)


def _name_columns(
    content: ArrayFile,
) -> tuple[dict[str, tuple[str, InputKind | None]], dict[str, str]]:
    kind = next(k for k in ("images", "tokens", "vectors") if k in content.arrays)
    inputs: dict[str, tuple[str, InputKind | None]] = {NO_SPLIT: (kind, INPUT_NAMES[kind])}
    return inputs, {NO_SPLIT: "labels"} if "labels" in content.arrays else {}


def _take_split(name: str) -> tuple[str, str]:
    """The split that an array's name begins with, or, as Keras writes it, ends with."""
    first, _, rest = name.partition("_")
    if first in SPLIT_NAMES and rest:
        return SPLIT_NAMES[first], rest
    rest, _, last = name.rpartition("_")
    if last in SPLIT_NAMES and rest:
        return SPLIT_NAMES[last], rest
    return NO_SPLIT, name


def _cut_by_column(part: Part, column: NDArray[Any]) -> dict[str, Part]:
    if column.shape != (len(part.items),) or column.dtype.kind != "U":
        raise DataError(
            f"{part.where}: 'split' is {column.dtype} of shape {column.shape}; it says train, "
            "validation or test of each row"
        )
    unknown = sorted(set(column.tolist()) - SPLIT_NAMES.keys())
    if unknown:
        raise DataError(
            f"{part.where}: 'split' says '{unknown[0]}'; rows are of {', '.join(SPLIT_NAMES)}"
        )
    splits = np.array([SPLIT_NAMES[name] for name in column.tolist()])
    return {
        split: Part(
            f"{part.where} of split {split}",
            part.kind,
            part.items[splits == split],
            None if part.labels is None else part.labels[splits == split],
        )
        for split in dict.fromkeys(SPLIT_NAMES.values())
        if split in splits
    }


def make_dataset(found: ArrayParts, settings: DataSettings, where: str) -> RawDataset:
    """Check the splits of a data set, and draw a test split where it has none.

    Args:
        found: The splits.
        settings: How they are to be read.
        where: What messages call the data set.

    Raises:
        DataError: Splits do not fit together, or one of them is not as it should be.
    """
    parts = dict(found.parts)
    if NO_SPLIT in parts:
        parts["train"] = parts.pop(NO_SPLIT)
    if "train" not in parts:
        raise DataError(f"{where}: it has {', '.join(parts)} and no training split; add it")
    kind = find_kind(parts["train"], settings)
    items = {split: make_items(part, kind, settings) for split, part in parts.items()}
    labels, names = make_labels(parts, settings, found.class_names)
    _check_settings(kind, settings)
    if kind == "tokens":
        items = _make_equally_long(items, settings.padding or 0)
    for split, array in items.items():
        if array.shape[1:] != items["train"].shape[1:]:
            raise DataError(
                f"{parts[split].where}: each is {array.shape[1:]}, and those of training are "
                f"{items['train'].shape[1:]}; all splits need one shape"
            )
    check_apart(items, where)
    tokens = None
    if kind == "tokens":
        assert settings.padding is not None
        highest = max(settings.padding, *(int(array.max()) for array in items.values()))
        vocabulary = settings.vocabulary or highest + 1
        tokens = TokenShape(items["train"].shape[1], vocabulary, settings.padding)
    if "test" not in items:
        _draw_test(items, labels, names, settings, where)
    return RawDataset(
        settings.name,
        items["train"],
        labels["train"],
        items["test"],
        labels["test"],
        names,
        items.get("validation"),
        labels.get("validation"),
        tokens,
    )


def _check_settings(kind: InputKind, settings: DataSettings) -> None:
    """Refuse settings that are for data of another kind."""
    only: Sequence[tuple[str, InputKind, object, object]] = (
        ("augment", "images", settings.augment, ()),
        ("image_size", "images", settings.image_size, 32),
        ("value_range", "images", settings.value_range, ()),
        ("padding", "tokens", settings.padding, None),
        ("vocabulary", "tokens", settings.vocabulary, None),
    )
    for key, of, value, default in only:
        if of != kind and value != default:
            shown = ", ".join(map(str, value)) if isinstance(value, tuple) else value
            raise DataError(
                f"data.{key} = {shown}: it is for {of}, and the data are {kind}; leave it out"
            )
    if kind == "tokens" and (settings.mean or settings.std):
        raise DataError("data.mean, data.std: token ids are never normalised; leave them out")


def _make_equally_long(items: Mapping[str, NDArray[Any]], padding: int) -> dict[str, NDArray[Any]]:
    longest = max(array.shape[1] for array in items.values())
    return {split: fill_up(array, longest, padding) for split, array in items.items()}


def fill_up(tokens: NDArray[Any], length: int, padding: int) -> NDArray[Any]:
    """Sequences of token ids, (n, shorter), with padding after them: (n, length)."""
    return np.pad(tokens, ((0, 0), (0, length - tokens.shape[1])), constant_values=padding)


def _draw_test(
    items: dict[str, NDArray[Any]],
    labels: dict[str, NDArray[np.int64]],
    names: Sequence[str],
    settings: DataSettings,
    where: str,
) -> None:
    """Take a test split out of the training split, the same for every campaign."""
    all_items, all_labels = items["train"], labels["train"]
    size = round(settings.test_fraction * len(all_labels))
    rng = np.random.default_rng(seed_for("arrays", "test"))
    test = draw_stratified(all_labels, size, rng)
    train = np.setdiff1d(np.arange(len(all_labels)), test)
    left = np.bincount(all_labels[train], minlength=len(names))
    if not size or not left.all():
        count = int(np.bincount(all_labels).min())
        raise DataError(
            f"{where}: {format_count(len(all_labels), 'row')}, {count} of the rarest class: too "
            f"few to draw a test split of {settings.test_fraction} from; give more rows, or a "
            "test split"
        )
    items |= {"train": all_items[train], "test": all_items[test]}
    labels |= {"train": all_labels[train], "test": all_labels[test]}
