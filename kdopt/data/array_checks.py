"""Arrays of a user made into what models take in, or refused with what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdopt.campaign.data_settings import DataSettings
from kdopt.campaign.shapes import InputKind
from kdopt.data.image_keys import hash_images
from kdopt.errors import DataError
from kdopt.shown import format_count

MOST_SHARED = 0.5
"""Share of a split that may be in another one too: above, the files were mixed up."""

MOST_CLASSES = 1_000_000


class Part(NamedTuple):
    """One split as its file has it.

    Attributes:
        where: What messages call it: the file, and the array.
        kind: What its name says that it holds; ``None`` where its type has to tell.
        items: The inputs.
        labels: Numbers or texts, one per input; ``None`` where there are none.
    """

    where: str
    kind: InputKind | None
    items: NDArray[Any]
    labels: NDArray[Any] | None


def find_kind(part: Part, settings: DataSettings) -> InputKind:
    """What a split holds: by its name, or by its dimensions."""
    if part.kind is not None:
        return part.kind
    if part.items.ndim > 2:
        return "images"
    return "vectors" if settings.padding is None else "tokens"


def make_items(part: Part, kind: InputKind, settings: DataSettings) -> NDArray[Any]:
    """The inputs as models take them.

    Returns:
        uint8 (n, channels, height, width), float32 (n, numbers) or int64 (n, length).

    Raises:
        DataError: They are none of these and cannot be made so.
    """
    if part.items.dtype.kind not in "buif":
        raise _make_fault(
            part, f"they are {part.items.dtype}", "give numbers, all rows of one length"
        )
    if not len(part.items):
        raise _make_fault(part, "it is empty", "give at least one row, or leave the array out")
    if kind == "images":
        return _make_images(part, settings)
    return _make_vectors(part) if kind == "vectors" else _make_tokens(part, settings)


def _make_images(part: Part, settings: DataSettings) -> NDArray[np.uint8]:
    items = part.items
    if items.ndim == 3:
        items = items[:, None]
    elif items.ndim != 4:
        raise _make_fault(
            part,
            f"images of shape {items.shape}",
            "give (n, height, width), (n, channels, height, width) or (n, height, width, channels)",
        )
    else:
        first, last = items.shape[1] in (1, 3), items.shape[3] in (1, 3)
        if first == last:
            found = "may be channels first or last" if first else "has neither 1 nor 3 channels"
            raise _make_fault(
                part,
                f"images of shape {items.shape}: it {found}",
                "give 1 or 3 channels, as (n, channels, height, width), and sides that are neither",
            )
        items = items if first else items.transpose(0, 3, 1, 2)
    if items.dtype == np.uint8:
        return np.array(items, order="C")  # a copy: what is read from a file cannot be written
    if items.dtype.kind != "f":
        raise _make_fault(part, f"images of {items.dtype}", "give uint8, 0 to 255, or floats")
    if not settings.value_range:
        raise _make_fault(
            part,
            f"images of {items.dtype}",
            "say what is black and white with data.value_range, such as [0.0, 1.0], or give uint8",
        )
    low, high = settings.value_range
    _check_finite(part, items)
    least, most = float(items.min()), float(items.max())
    if least < low or most > high:
        raise _make_fault(
            part,
            f"its values run from {least:g} to {most:g}, and data.value_range is {low:g} to "
            f"{high:g}",
            "change data.value_range",
        )
    steps = np.round((items.astype(np.float64) - low) * (255 / (high - low)))
    return np.ascontiguousarray(steps.astype(np.uint8))


def _make_vectors(part: Part) -> NDArray[np.float32]:
    if part.items.ndim != 2 or not part.items.shape[1]:
        raise _make_fault(part, f"vectors of shape {part.items.shape}", "give (n, numbers)")
    _check_finite(part, part.items)
    with np.errstate(over="ignore"):
        vectors = np.array(part.items, np.float32, order="C")
    if not np.isfinite(vectors).all():
        raise _make_fault(
            part, "it has values beyond 3e38, the greatest float32", "scale them down"
        )
    return vectors


def _make_tokens(part: Part, settings: DataSettings) -> NDArray[np.int64]:
    items = part.items
    if items.dtype.kind not in "iu" or items.ndim != 2 or not items.shape[1]:
        raise _make_fault(
            part,
            f"token ids are {items.dtype} of shape {items.shape}",
            "give whole numbers (n, length), short sequences filled up",
        )
    if settings.padding is None:
        raise _make_fault(
            part, "token ids without data.padding", "set it to the id that fills up, such as 0"
        )
    tokens = np.array(items, np.int64, order="C")
    most = 10_000_000 if settings.vocabulary is None else settings.vocabulary
    wrong = np.argwhere((tokens < 0) | (tokens >= most))
    if len(wrong):
        row, column = wrong[0]
        raise _make_fault(
            part,
            f"token id {tokens[row, column]} in row {row} is outside 0..{most - 1}",
            "number tokens from 0, or set data.vocabulary to one more than the greatest id",
        )
    if settings.padding >= most:
        raise DataError(
            f"data.padding = {settings.padding} is outside 0..{most - 1}; set data.vocabulary to "
            "one more than the greatest id, that of padding counted"
        )
    return tokens


def _check_finite(part: Part, items: NDArray[Any]) -> None:
    if items.dtype.kind != "f":
        return
    bad = np.argwhere(~np.isfinite(items))
    if len(bad):
        place = tuple(bad[0].tolist())
        raise _make_fault(
            part,
            f"value {items[place]} in row {place[0]} ({format_count(len(bad), 'such value')})",
            "fill them in or drop these rows",
        )


def make_labels(
    parts: Mapping[str, Part], settings: DataSettings, said: Sequence[str]
) -> tuple[dict[str, NDArray[np.int64]], tuple[str, ...]]:
    """The labels of all splits as class numbers, and the classes' names.

    Args:
        parts: By split, the training split ``train`` among them, all with labels.
        settings: Uses ``classes``.
        said: The names that the file says, if any.

    Raises:
        DataError: Labels are missing, of another type or count, out of range, or of one class.
    """
    raw = {split: check_labels(part) for split, part in parts.items()}
    names = tuple(settings.classes) or tuple(said)
    train = parts["train"]
    if not names and raw["train"].dtype.kind == "U":
        names = tuple(np.unique(raw["train"]).tolist())
    elif not names:
        highest = max(0, int(raw["train"].max()))
        names = tuple(f"class {i}" for i in range(min(highest, MOST_CLASSES) + 1))
    numbers = {split: number_labels(parts[split], labels, names) for split, labels in raw.items()}
    if len(names) < 2:
        raise _make_fault(train, f"its labels are of {len(names)} class", "at least 2 are needed")
    absent = np.flatnonzero(np.bincount(numbers["train"], minlength=len(names)) == 0)
    if len(absent):
        raise _make_fault(
            train,
            f"class {absent[0]} ('{names[absent[0]]}') of {len(names)} has no training example",
            "give it some, or number the classes that are there from 0 without gaps",
        )
    return numbers, names


def check_labels(part: Part) -> NDArray[Any]:
    """The labels of a split as they are given: int64 or text, (n,).

    Raises:
        DataError: There are none, or they are of another type or count.
    """
    labels = part.labels
    if labels is None:
        raise _make_fault(
            part, "it has no labels", "add some as 'labels', or name them in data.columns"
        )
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind not in "biuU" or labels.ndim != 1:
        raise _make_fault(
            part,
            f"labels are {labels.dtype} of shape {labels.shape}",
            "give one whole number or text per row (of one-hot rows take argmax(axis=1))",
        )
    if len(labels) != len(part.items):
        raise _make_fault(
            part,
            f"{format_count(len(part.items), 'row')} and {format_count(len(labels), 'label')}",
            "give one label per row, in the same order",
        )
    return labels if labels.dtype.kind == "U" else labels.astype(np.int64)


def number_labels(part: Part, labels: NDArray[Any], names: Sequence[str]) -> NDArray[np.int64]:
    """Labels as class numbers.

    Args:
        part: What they are of, for messages.
        labels: From :func:`check_labels`.
        names: The classes' names, in order.

    Raises:
        DataError: One of them is no class.
    """
    if labels.dtype.kind != "U":
        return _check_range(part, labels, names)
    number = {name: i for i, name in enumerate(names)}
    unknown = sorted(set(labels.tolist()) - number.keys())
    if unknown:
        raise _make_fault(
            part,
            f"label '{unknown[0]}' is none of the classes {', '.join(names)}",
            "correct it, or list all classes in data.classes",
        )
    return np.array([number[label] for label in labels.tolist()], np.int64)


def _check_range(part: Part, labels: NDArray[np.int64], names: Sequence[str]) -> NDArray[np.int64]:
    wrong = np.flatnonzero((labels < 0) | (labels >= len(names)))
    if len(wrong):
        raise _make_fault(
            part,
            f"label {labels[wrong[0]]} of row {wrong[0]} is outside 0..{len(names) - 1}",
            "number classes from 0; every class must be in the training split",
        )
    return labels


def check_apart(splits: Mapping[str, NDArray[Any]], where: str) -> None:
    """Refuse splits of which one is, for the most part, in another one too.

    Raises:
        DataError: Names the splits and how many rows they share.
    """
    seen = {split: set(hash_images(items)) for split, items in splits.items()}
    names = list(splits)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            shared = sum(digest in seen[first] for digest in hash_images(splits[second]))
            if shared > MOST_SHARED * len(splits[second]):
                raise DataError(
                    f"{where}: {first} has {shared:,} of the "
                    f"{format_count(len(splits[second]), 'row')} of {second} too; what a model "
                    "was trained on says nothing of it: give splits without rows in common, or "
                    "one array, which kdopt splits"
                )


def _make_fault(part: Part, found: str, fix: str) -> DataError:
    return DataError(f"{part.where}: {found}; {fix}")
