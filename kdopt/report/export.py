"""The files of a report, of one campaign or of several side by side: tables, figures, the page."""

from __future__ import annotations

import functools
import importlib.util
import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from kdopt.analysis.agreement import ComparedCampaign, ComparisonTables
from kdopt.analysis.tables import NAMED, Tables
from kdopt.campaign.names import pair_label
from kdopt.campaign.record import CampaignRecord, format_campaign
from kdopt.campaign.settings import Campaign
from kdopt.outcome import Outcome, TrialRow
from kdopt.report.blocks import Block, Grid, ReportData, Section, Table
from kdopt.report.export_columns import name_export_column
from kdopt.report.files import PAGE_NAME, Content, write_files
from kdopt.report.format import escape_markdown, format_csv, format_pipe_table, generate_csv
from kdopt.report.images import ImageFormat, draw_images
from kdopt.report.page import (
    list_figures,
    make_payload,
    make_sections,
    render_page,
    render_sections,
)
from kdopt.report.sections.comparison import describe_comparison, make_comparison_sections

NO_PARQUET = "trials.parquet is not written: it needs pyarrow (pip install 'kdopt[parquet]')"

TRIAL_COLUMNS = ("study", "partition", "stage", "teacher", "student", "number", "state")

SCORES = ("validation", "test", "validation_before", "test_before")

SCORE_PARTS = ("accuracy", "per_class", "loss")

OUTCOME_COLUMNS = (
    "value", "validation_gain", "test_gain", "learning", "forgetting", "epochs", "best_epoch",
    "line_position", "last_validation_accuracy", "last_test_accuracy", "seconds", "device",
    "precision", "checkpoint", "round_bytes", "start_bytes",
)  # fmt: skip

SET_OF = {
    "value": "validation",
    "last_validation_accuracy": "validation",
    "last_test_accuracy": "test",
}
"""Numbers that nobody knows where a teacher given by its logits was not scored on a set."""

FINGERPRINT_DIGITS = 12
"""Of a sha256: enough to tell two apart by eye."""


def write_report(
    out_dir: Path, data: ReportData, formats: Sequence[ImageFormat] = ()
) -> list[Path]:
    """Write what the campaign has data for, the page last.

    The tables are ``best_settings.csv/.md/.tex`` (unless the campaign has no tuning),
    ``verdicts.csv`` (if there are pairs), ``method_gains.csv`` (if there are results of a
    comparison), ``combined.csv/.md/.tex``,
    ``federated_curves.csv``, ``rounds_to_target.csv``, ``algorithms.csv`` and
    ``algorithm_rounds.csv`` (if there is more than federated averaging) and ``claims.csv/.md``;
    ``trials.csv`` and ``trials.parquet`` (where pyarrow is installed) hold every trial,
    ``trials_per_class.csv`` their accuracies by class (lists in the Parquet file), ``spec.toml``
    every setting,
    ``figures/`` the page's figures in the formats asked for, and ``report.html`` is the page.

    All files are written before the first one is put in its place, and each is replaced in one
    step, so readers never see half a report.

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
    contents: dict[str, Content] = {}
    for section in sections:
        contents |= section.files
    columns = name_trials(data.rows, data.campaign)
    contents["trials.csv"] = generate_trials_csv(columns)
    contents["trials_per_class.csv"] = generate_classes_csv(columns)
    if parquet := make_trials_parquet(columns):
        contents["trials.parquet"] = parquet
    contents["spec.toml"] = format_campaign(data.campaign, data.settings)
    if formats:
        images = draw_images(list_figures(sections), formats)
        contents |= {f"figures/{name}": image for name, image in images.items()}
    # The page comes last: a reader who finds it finds the other files too.
    contents[PAGE_NAME] = render_page(data, sections)
    return write_files(out_dir, contents)


def name_trials(rows: Sequence[TrialRow], campaign: Campaign | None = None) -> dict[str, list[Any]]:
    """:func:`kdopt.report.export.tabulate_trials` under the names and units of files.

    Accuracies are percent, as in all other files, also those by class and by round. ``pair`` is
    the label of teacher and student, and ``objective`` is the study's, as Optuna has it. Where the
    campaign has names of participants, they come after their numbers.
    """
    columns = tabulate_trials(rows)
    pairs = zip(columns["teacher"], columns["student"], strict=True)
    named: dict[str, list[Any]] = {}
    for key, column in columns.items():
        if key == "teacher":
            named["pair"] = [None if t is None or s is None else pair_label(t, s) for t, s in pairs]
        name = name_export_column("objective" if key == "value" else key)
        named[name] = [_make_percent(v) for v in column] if name.endswith("_percent") else column
        if key in NAMED and campaign is not None and campaign.participant:
            named[f"{name}_name"] = [
                None if number is None else campaign.name_participant(int(number))
                for number in column
            ]
    return named


def _make_percent(share: Any) -> Any:
    if isinstance(share, tuple):
        return _make_percents(share)
    return None if share is None else 100 * share


@functools.lru_cache(maxsize=4096)
def _make_percents(shares: tuple[Any, ...]) -> tuple[Any, ...]:
    # Once for all trials of a student that begin alike: a third of a large campaign's memory here.
    return tuple(map(_make_percent, shares))


def generate_trials_csv(columns: Mapping[str, list[Any]]) -> Iterator[str]:
    """The columns of :func:`name_trials` that hold one value each, as CSV; floats are exact."""
    plain = {key: column for key, column in columns.items() if not _has_lists(column)}
    return generate_csv(plain, zip(*plain.values(), strict=True))


def generate_classes_csv(columns: Mapping[str, list[Any]]) -> Iterator[str]:
    """The columns by class: one line per complete trial and class, classes counted from 0."""
    by_class = {key: column for key, column in columns.items() if "_per_class_" in key}
    labels = [columns[key] for key in ("study", "pair", "number")]
    yield format_csv(["study", "pair", "number", "class", *by_class], ())
    # Millions of lines of few numbers and labels: each is written once.
    write = functools.lru_cache(2**16, typed=True)(lambda n: "" if n is None else repr(n))
    label = functools.cache(lambda *about: format_csv(about, ()).rstrip("\n"))
    for study, pair, n, lists in zip(*labels, zip(*by_class.values(), strict=True), strict=True):
        if any(lists):
            labelled = f"{label(study, pair)},{n}"
            by_line = enumerate(zip_longest(*(one or () for one in lists)))
            yield "".join(f"{labelled},{i},{','.join(map(write, one))}\n" for i, one in by_line)


def _has_lists(column: Sequence[Any]) -> bool:
    return any(isinstance(value, tuple) for value in column)


def make_trials_parquet(columns: Mapping[str, list[Any]]) -> bytes | None:
    """All columns as a Parquet file, lists as lists; ``None`` where pyarrow is not installed."""
    if importlib.util.find_spec("pyarrow") is None:
        return None
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({key: _make_arrow_column(column) for key, column in columns.items()})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


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


def tabulate_trials(rows: Sequence[TrialRow]) -> dict[str, list[Any]]:
    """Every trial in every state with all that it recorded: one list per column.

    The tidy table of a campaign, sorted by study name and trial number: what a trial is about,
    its parameters by name, its outcome, and the reason of a failed one. What does not apply is
    ``None``. Gains, learning and forgetting are pp, accuracies are shares in [0, 1]; a score has
    three columns such as ``test_before_accuracy``, ``test_before_loss`` and
    ``test_before_per_class`` (a list in class order). ``started_from`` is the participant that a
    stage chose itself, the two ``rounds_...`` columns are lists with an entry per round, and there
    is a column ``version_...`` per package.
    """
    ordered = sorted(rows, key=lambda row: (row.study, row.number))
    outcomes = [row.outcome for row in ordered]
    columns: dict[str, list[Any]] = {
        key: [getattr(row, key) for row in ordered] for key in TRIAL_COLUMNS
    }
    if any(row.algorithm for row in ordered):
        columns["algorithm"] = [row.algorithm for row in ordered]
    for key in sorted({key for row in ordered for key in row.params}):
        # The student of a control is a parameter, that of a pair belongs to its study.
        known = columns.get(key, [None] * len(ordered))
        columns[key] = [
            row.params.get(key) if value is None else value
            for row, value in zip(ordered, known, strict=True)
        ]
    for key in OUTCOME_COLUMNS:
        columns[key] = [_read_known(o, key) if o else None for o in outcomes]
    if any(o and o.batch_norm for o in outcomes):
        columns["batch_norm"] = [o.batch_norm if o else None for o in outcomes]
    columns["started_from"] = [o.participant if o else None for o in outcomes]
    for key in SCORES:
        scores = [getattr(o, key) if o else None for o in outcomes]
        for part in SCORE_PARTS:
            columns[f"{key}_{part}"] = [
                getattr(s, part) if s and s.images != 0 else None for s in scores
            ]
    for key in ("validation_accuracy", "test_accuracy"):
        columns[f"rounds_{key}"] = [
            tuple(getattr(score, key) for score in o.rounds) if o and o.rounds else None
            for o in outcomes
        ]
    for package in sorted({package for o in outcomes if o for package in o.versions}):
        columns[f"version_{package}"] = [o.versions.get(package) if o else None for o in outcomes]
    columns["error"] = [row.error for row in ordered]
    return columns


def _read_known(outcome: Outcome, key: str) -> Any:
    scores = getattr(outcome, SET_OF[key]) if key in SET_OF else None
    return None if scores and scores.images == 0 else getattr(outcome, key)


def make_compared_campaign(
    label: str, record: CampaignRecord, rows: Sequence[TrialRow]
) -> ComparedCampaign:
    """A campaign as it enters a comparison.

    Args:
        label: What tells it from the others.
        record: What the store keeps of it.
        rows: Its trials, in any state and order.
    """
    settings = {line.key: line.value for line in record.settings if line.key != "name"}
    outcomes = [row.outcome for row in rows if row.outcome]
    ran_on = sorted({f"{o.device} ({o.precision})" for o in outcomes})
    versions: dict[str, set[str]] = {}
    for outcome in outcomes:
        for package, version in outcome.versions.items():
            versions.setdefault(package, set()).add(version)
    for name in sorted(versions):
        settings[f"version of {name}"] = ", ".join(sorted(versions[name]))
    if ran_on:
        settings["ran on"] = ", ".join(ran_on)
    settings["images (fingerprint)"] = record.data_sha256[:FINGERPRINT_DIGITS]
    settings |= {
        f"shares of {partition} (fingerprint)": sha256[:FINGERPRINT_DIGITS]
        for partition, sha256 in record.splits.items()
    }
    tables = Tables(rows, record.campaign)
    return ComparedCampaign(label, tables, record.data_sha256, record.splits, settings)


def write_comparison(
    out_dir: Path, campaigns: Sequence[ComparedCampaign], formats: Sequence[ImageFormat] = ()
) -> list[Path]:
    """Write the page and the files of a comparison, the page last.

    The tables are ``headlines.csv``, ``best_settings.csv``, ``agreement.csv``, ``findings.csv``
    and ``settings_differences.csv``; ``comparison.md`` has what the page says, without figures.

    Args:
        out_dir: Folder to write into, made if it is not there.
        campaigns: Two or more.
        formats: Of ``figures/``; none writes no such folder.

    Raises:
        ComparisonError: The campaigns have nothing to be set side by side.
        KdoptError: A file cannot be written, or figures cannot be made here.
    """
    sections = make_comparison_sections(ComparisonTables(campaigns))
    name, lead = ", ".join(c.label for c in campaigns), describe_comparison(campaigns)
    contents: dict[str, Content] = {}
    for section in sections:
        contents |= section.files
    contents["comparison.md"] = format_sections(name, lead, sections)
    if formats:
        images = draw_images(list_figures(sections), formats)
        contents |= {f"figures/{image}": content for image, content in images.items()}
    contents[PAGE_NAME] = render_sections(name, lead, sections, make_payload(name, sections))
    return write_files(out_dir, contents)


def format_sections(name: str, lead: str, sections: Sequence[Section]) -> str:
    """Sections as Markdown: their texts and tables, without figures."""
    parts = [f"# {escape_markdown(name)}", escape_markdown(lead)]
    for section in sections:
        parts += [f"## {escape_markdown(section.title)}", escape_markdown(section.note)]
        for block in section.blocks:
            parts += _format_block(block)
    return "\n\n".join(part for part in parts if part) + "\n"


def _format_block(block: Block) -> Iterator[str]:
    yield f"### {escape_markdown(block.title)}" if block.title else ""
    yield escape_markdown(block.note)
    yield f"**{escape_markdown(block.missing)}**" if block.missing else ""
    for grid in block.grids:
        yield _format_grid(grid)
    for table in block.tables:
        yield _format_table(table)


def _format_grid(grid: Grid) -> str:
    # Markdown has one line of headings: those above each other are joined.
    spread = [[text for text, span in row for _ in range(span)] for row in grid.headings]
    headings = [grid.corner, *(": ".join(column) for column in zip(*spread, strict=True))]
    lines = [
        [title, *(f"{c.text} ({c.below})" if c.below else c.text for c in cells)]
        for title, cells in grid.lines
    ]
    return format_pipe_table(headings, lines)


def _format_table(table: Table) -> str:
    return format_pipe_table(table.headings, [[cell.text for cell in line] for line in table.lines])
