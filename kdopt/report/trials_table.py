"""Every trial of a campaign as a file: CSV, and Parquet where pyarrow is installed."""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Mapping
from typing import Any

from kdopt.report.tables import csv_text

NO_PARQUET = "trials.parquet is not written: it needs pyarrow (pip install 'kdopt[parquet]')"


def trials_csv(columns: Mapping[str, list[Any]]) -> str:
    """:func:`kdopt.analysis.results.tabulate_trials` as CSV.

    Floats are written so that they read back exactly; lists are JSON.
    """
    texts = [_texts(column) for column in columns.values()]
    return csv_text(columns, zip(*texts, strict=True))


def trials_parquet(columns: Mapping[str, list[Any]]) -> bytes | None:
    """The same as a Parquet file, lists as lists; ``None`` where pyarrow is not installed."""
    if importlib.util.find_spec("pyarrow") is None:
        return None
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({key: _array(column) for key, column in columns.items()})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _texts(column: list[Any]) -> list[Any]:
    """Scalars are left to the CSV writer, which writes floats exactly."""
    if not any(isinstance(value, tuple) for value in column):
        return column
    # The untouched student's scores recur in each of its trials, so few lists are written often.
    known: dict[Any, str] = {None: ""}
    encode = json.JSONEncoder().encode
    return [known[v] if v in known else known.setdefault(v, encode(v)) for v in column]


def _array(column: list[Any]) -> Any:
    """A column in the narrowest type that holds it; values that differ in kind become text."""
    import pyarrow as pa

    kinds = {type(value) for value in column} - {type(None)}
    if not kinds:
        return pa.nulls(len(column))
    if kinds == {tuple}:
        return pa.array(column, pa.list_(pa.float64()))
    if kinds == {int}:
        return pa.array(column, pa.int64())
    if kinds <= {int, float}:
        return pa.array(column, pa.float64())
    return pa.array([None if v is None else str(v) for v in column], pa.string())
