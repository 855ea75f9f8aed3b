"""The files of a report: tables, trials, figures, the resolved settings and the page."""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdopt.analysis.trial_table import tabulate_trials
from kdopt.campaign.record import format_campaign
from kdopt.report.blocks import ReportData
from kdopt.report.files import PAGE_NAME, write_files
from kdopt.report.format import format_csv
from kdopt.report.images import ImageFormat, draw_images
from kdopt.report.page import list_figures, make_sections, render_page


def write_report(
    out_dir: Path, data: ReportData, formats: Sequence[ImageFormat] = ()
) -> list[Path]:
    """Write what the campaign has data for, the page last.

    The tables are ``best_settings.csv/.md/.tex`` (unless the campaign has no tuning),
    ``verdicts.csv`` (if there are pairs), ``method_gains.csv`` (if there are results of a
    comparison), ``combined.csv/.md/.tex``,
    ``federated_curves.csv``, ``rounds_to_target.csv`` and ``claims.csv/.md``; ``trials.csv`` and
    ``trials.parquet`` (where pyarrow is installed) hold every trial, ``spec.toml`` every setting,
    ``figures/`` the page's figures in the formats asked for, and ``report.html`` is the page.

    All contents are made before the first file is written, and each file is replaced in one step,
    so readers never see half a report.

    Args:
        out_dir: Folder to write into, made if it is not there.
        data: The campaign with its trials.
        formats: Of ``figures/``; none writes no such folder.

    Returns:
        The files written.

    Raises:
        KdoptError: If the folder or a file cannot be written, if files of others have the same
            names, or figures were asked for and cannot be made here.
    """
    sections = make_sections(data)
    contents: dict[str, str | bytes] = {}
    for section in sections:
        contents |= section.files
    columns = tabulate_trials(data.rows)
    contents["trials.csv"] = format_trials_csv(columns)
    if parquet := make_trials_parquet(columns):
        contents["trials.parquet"] = parquet
    contents["spec.toml"] = format_campaign(data.campaign, data.settings)
    if formats:
        images = draw_images(list_figures(sections), formats)
        contents |= {f"figures/{name}": image for name, image in images.items()}
    # The page comes last: a reader who finds it finds the other files too.
    contents[PAGE_NAME] = render_page(data, sections)
    return write_files(out_dir, contents)


NO_PARQUET = "trials.parquet is not written: it needs pyarrow (pip install 'kdopt[parquet]')"


def format_trials_csv(columns: Mapping[str, list[Any]]) -> str:
    """:func:`kdopt.analysis.trial_table.tabulate_trials` as CSV.

    Floats are written so that they read back exactly; lists are JSON.
    """
    texts = [_format_column(column) for column in columns.values()]
    return format_csv(columns, zip(*texts, strict=True))


def make_trials_parquet(columns: Mapping[str, list[Any]]) -> bytes | None:
    """The same as a Parquet file, lists as lists; ``None`` where pyarrow is not installed."""
    if importlib.util.find_spec("pyarrow") is None:
        return None
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({key: _make_arrow_column(column) for key, column in columns.items()})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _format_column(column: list[Any]) -> list[Any]:
    """Scalars are left to the CSV writer, which writes floats exactly."""
    if not any(isinstance(value, tuple) for value in column):
        return column
    # The untouched student's scores recur in each of its trials, so few lists are written often.
    known: dict[Any, str] = {None: ""}
    encode = json.JSONEncoder().encode
    return [known[v] if v in known else known.setdefault(v, encode(v)) for v in column]


def _make_arrow_column(column: list[Any]) -> Any:
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
