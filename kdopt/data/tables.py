"""Tables of Parquet and Arrow files as arrays, by pyarrow: no pickle, no code, no network.

Why not Hugging Face's ``datasets``: what it saves are Arrow and Parquet files, which pyarrow
reads. It would bring along libraries for the network and for pickles of functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdopt.campaign.plain import load_json
from kdopt.data.sources.image_files import decode_contents
from kdopt.errors import DataError
from kdopt.files import open_input
from kdopt.shown import format_count

INPUT_COLUMNS = {
    "images": ("image", "images", "img"),
    "tokens": ("tokens", "input_ids"),
    "vectors": ("vector", "vectors", "features", "embedding", "embeddings"),
}
"""How columns with inputs are usually called, by what they hold."""

LABEL_COLUMNS = ("label", "labels", "y", "target", "targets")
SPLIT_COLUMN = "split"
TEXT_COLUMNS = ("text", "sentence")

MAX_TABLE_BYTES = 16 * 2**30
BATCH_ROWS = 16_384


def read_table(
    paths: Sequence[Path], columns: Sequence[str], padding: int | None, image_size: int
) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """The inputs, labels and splits of tables that belong together, one after the other.

    Without a column of inputs, all columns of numbers but the labels are the numbers of a vector.

    Args:
        paths: Parquet or Arrow files of the same columns.
        columns: The columns of inputs and labels; empty for the usual names.
        padding: What fills up short sequences of token ids; ``None`` if they may not be short.
        image_size: Side in pixels that encoded images are resized to.

    Returns:
        Arrays called ``images``, ``tokens`` or ``vectors``, ``labels`` and ``split``, as far as
        they are there; and the names of classes, where the file says them.

    Raises:
        DataError: pyarrow is not installed, or a file cannot be read or lacks what is needed.
    """
    where = str(paths[0])
    try:
        table = _load_table(paths)
    except DataError:
        raise
    except Exception as error:  # of pyarrow about damaged files, in any way
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{where}: cannot be read ({reason}); write the file again") from error
    names = table.column_names
    # Public data have none, whatever those of the data set are called.
    label = next((name for name in (*columns[1:], *LABEL_COLUMNS) if name in names), None)
    found: dict[str, NDArray[Any]] = {}
    if label is not None:
        found["labels"] = _read_plain(table, label, where)
    if SPLIT_COLUMN in names:
        found["split"] = _read_plain(table, SPLIT_COLUMN, where)
    kind, chosen = _find_inputs(table, columns[:1], {label, SPLIT_COLUMN}, where)
    if kind == "images":
        found[kind] = _read_images(table, chosen[0], image_size, where)
    elif len(chosen) == 1 and _is_list(table, chosen[0]):
        found[kind] = _read_lists(table, chosen[0], padding if kind == "tokens" else None, where)
    else:
        found["vectors"] = np.stack([_read_plain(table, c, where) for c in chosen], axis=1)
    return found, _read_class_names(table, label)


def load_pyarrow() -> ModuleType:
    """The package, which is an extra.

    Raises:
        DataError: It is not installed.
    """
    try:
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(
            "Parquet and Arrow files need pyarrow, which is not installed; "
            "pip install 'kdopt[hf]' (or 'kdopt[parquet]'), or save the data as .npz"
        ) from error
    module: ModuleType = pyarrow
    return module


def _load_table(paths: Sequence[Path]) -> Any:
    arrow = load_pyarrow()
    batches, size = [], 0
    for path in paths:
        for batch in _iterate_batches(arrow, path):
            size += batch.nbytes
            if size > MAX_TABLE_BYTES:
                raise DataError(
                    f"{path}: more than {MAX_TABLE_BYTES:,} bytes unpacked, which is the most; "
                    "it is damaged, or take fewer rows"
                )
            batches.append(batch)
    if not batches:
        raise DataError(f"{paths[0]}: it has no rows; give a file with data")
    return arrow.Table.from_batches(batches).combine_chunks()


def _iterate_batches(arrow: ModuleType, path: Path) -> Iterator[Any]:
    with open_input(path) as stream:
        if path.suffix == ".parquet":
            yield from arrow.parquet.ParquetFile(stream).iter_batches(BATCH_ROWS)
        else:
            yield from arrow.ipc.open_stream(stream)


def _find_column(
    names: Sequence[str], asked: Sequence[str], usual: Sequence[str], where: str
) -> str | None:
    for name in asked:
        if name not in names:
            raise DataError(
                f"{where}: data.columns says '{name}', and its columns are {', '.join(names)}; "
                "name one of them"
            )
    return next((name for name in (*asked, *usual) if name in names), None)


def _find_inputs(
    table: Any, asked: Sequence[str], apart: set[str | None], where: str
) -> tuple[str, list[str]]:
    """What the inputs are, and the columns that hold them."""
    names = table.column_names
    usual = [(name, kind) for kind, listed in INPUT_COLUMNS.items() for name in listed]
    name = _find_column(names, asked, [name for name, _ in usual], where)
    if name is not None:
        kind = _guess_kind(table, name, dict(usual).get(name))
        return kind, [name]
    numbers = [n for n in names if n not in apart and _is_number(table, n)]
    if not numbers:
        text = next((n for n in TEXT_COLUMNS if n in names), None)
        hint = (
            f"column '{text}' is text: turn it into token ids first, a list of whole numbers per "
            "row called 'tokens'"
            if text
            else "name a column of images, token ids or vectors, or numbers, with data.columns"
        )
        raise DataError(f"{where}: no column of inputs among {', '.join(names)}; {hint}")
    return "vectors", numbers


def _guess_kind(table: Any, name: str, usual: str | None) -> str:
    arrow, kind = load_pyarrow(), table.schema.field(name).type
    if usual is not None and (usual == "images") == (not _is_list(table, name)):
        return usual
    if not _is_list(table, name):
        return "vectors" if _is_number(table, name) else "images"
    return "tokens" if arrow.types.is_integer(kind.value_type) else "vectors"


def _is_number(table: Any, name: str) -> bool:
    types, kind = load_pyarrow().types, table.schema.field(name).type
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def _is_list(table: Any, name: str) -> bool:
    types, kind = load_pyarrow().types, table.schema.field(name).type
    return any(f(kind) for f in (types.is_list, types.is_large_list, types.is_fixed_size_list))


def _read_plain(table: Any, name: str, where: str) -> NDArray[Any]:
    """A column of numbers or texts."""
    types, column = load_pyarrow().types, table.column(name)
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    _refuse_empty(column, name, where)
    if types.is_string(column.type) or types.is_large_string(column.type):
        return np.array(column.to_pylist(), np.str_)
    if not _is_number(table, name):
        raise DataError(
            f"{where}: column '{name}' is {column.type}; it must be of numbers or texts"
        )
    found: NDArray[Any] = column.to_numpy()
    return found


def _read_lists(table: Any, name: str, padding: int | None, where: str) -> NDArray[Any]:
    column = table.column(name)
    _refuse_empty(column, name, where)
    flat = column.combine_chunks()
    flat = flat.chunk(0) if hasattr(flat, "chunk") else flat
    values = flat.flatten()
    _refuse_empty(values, name, where)
    if not (hasattr(values, "type") and _is_plain_number(values.type)):
        raise DataError(f"{where}: column '{name}' is {column.type}; give lists of numbers")
    lengths = np.asarray(flat.value_lengths())
    numbers: NDArray[Any] = values.to_numpy(zero_copy_only=False)
    longest = int(lengths.max())
    odd = np.flatnonzero(lengths != longest)
    if not len(odd):
        return numbers.reshape(len(lengths), longest)
    if padding is None:
        raise DataError(
            f"{where}: column '{name}': row {odd[0]} has "
            f"{format_count(lengths[odd[0]], 'value')}, others {longest}; vectors are of one "
            "length. Of token ids, set data.padding to the id that fills up"
        )
    filled = np.full((len(lengths), longest), padding, numbers.dtype)
    filled[np.arange(longest) < lengths[:, None]] = numbers
    return filled


def _is_plain_number(kind: Any) -> bool:
    types = load_pyarrow().types
    return bool(types.is_integer(kind) or types.is_floating(kind))


def _read_images(table: Any, name: str, image_size: int, where: str) -> NDArray[Any]:
    """A column of image files, as bytes or as Hugging Face keeps them, with path beside them."""
    types, column = load_pyarrow().types, table.column(name)
    _refuse_empty(column, name, where)
    if types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
        rows = [row["bytes"] for row in column.to_pylist()]
    elif types.is_binary(column.type) or types.is_large_binary(column.type):
        rows = column.to_pylist()
    else:
        raise DataError(
            f"{where}: column '{name}' is {column.type}; images are files as bytes, such as PNG"
        )
    lost = next((i for i, row in enumerate(rows) if row is None), None)
    if lost is not None:
        raise DataError(
            f"{where}: column '{name}', row {lost}: the image is a path to a file elsewhere; save "
            "the data set with its images in it (datasets' embed_external_files)"
        )
    return decode_contents(f"{where}, column '{name}'", rows, image_size)


def _refuse_empty(column: Any, name: str, where: str) -> None:
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise DataError(
            f"{where}: column '{name}', row {row}: it is empty; fill it or drop the row"
        )


def _read_class_names(table: Any, label: str | None) -> tuple[str, ...]:
    """What Hugging Face's ``ClassLabel`` says, in the table's own notes."""
    text = (table.schema.metadata or {}).get(b"huggingface")
    if text is None or label is None:
        return ()
    try:
        names = load_json(text)["info"]["features"][label].get("names", ())
    except (ValueError, KeyError, TypeError, AttributeError):
        return ()
    return tuple(map(str, names)) if isinstance(names, list) else ()
