"""The files of a whole report: tables, trials, figures, the resolved spec and the page."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from kdopt.analysis.results import tabulate_trials
from kdopt.campaign.record import SettingLine, format_campaign
from kdopt.campaign.settings import Campaign
from kdopt.errors import KdoptError
from kdopt.features.measurements import PartitionMeasurements
from kdopt.outcome import TrialRow
from kdopt.report.blocks import Part
from kdopt.report.images import ImageFormat, images
from kdopt.report.many_tables import many_texts
from kdopt.report.method_tables import claims_csv, claims_markdown
from kdopt.report.page import render_page
from kdopt.report.tables import best_csv, best_latex, best_markdown, frame_csv
from kdopt.report.trials_table import trials_csv, trials_parquet
from kdopt.report.view import View, make_view

PAGE = "report.html"


def write_report(
    out_dir: Path,
    campaign: Campaign,
    rows: Sequence[TrialRow],
    settings_lines: Sequence[SettingLine],
    *,
    measurements: Mapping[str, PartitionMeasurements] | None = None,
    more: Sequence[Part] = (),
    texts: Mapping[str, str] | None = None,
    formats: Sequence[ImageFormat] = (),
) -> list[Path]:
    """Write what the campaign has data for, the page last.

    The tables are ``best_settings.csv/.md/.tex`` (unless the campaign has no tuning),
    ``method_gains.csv`` (if there are results of a comparison), ``combined.csv/.md/.tex``,
    ``federated_curves.csv``, ``rounds_to_target.csv`` and ``claims.csv/.md``; ``trials.csv`` and
    ``trials.parquet`` (where pyarrow is installed) hold every trial, ``spec.toml`` every setting,
    ``figures/`` the page's figures in the formats asked for, and ``report.html`` is the page.

    Everything is made before the first file is touched, and each file appears whole or not at
    all, so a reader never meets half a report.

    Args:
        out_dir: Folder to write into, made if it is not there.
        campaign: What was run.
        rows: Its trials, in any state and order.
        settings_lines: Its resolved settings with the source of each.
        measurements: What was measured of its partitions.
        more: Further sections of the page.
        texts: Further files: names and contents.
        formats: Of ``figures/``; none writes no such folder.

    Returns:
        The files written.

    Raises:
        KdoptError: If the folder or a file cannot be written, or figures were asked for and
            cannot be made here.
    """
    view = make_view(campaign, rows, measurements, more)
    contents: dict[str, str | bytes] = {**_tables(view, campaign), **(texts or {})}
    columns = tabulate_trials(rows)
    contents["trials.csv"] = trials_csv(columns)
    if parquet := trials_parquet(columns):
        contents["trials.parquet"] = parquet
    contents["spec.toml"] = format_campaign(campaign, settings_lines)
    if formats:
        drawn = images(list(view.drawn.values()), formats)
        contents |= {f"figures/{name}": image for name, image in drawn.items()}
    contents[PAGE] = render_page(campaign, view, settings_lines)
    return [_write(out_dir / name, content) for name, content in contents.items()]


def _tables(view: View, campaign: Campaign) -> dict[str, str]:
    texts: dict[str, str] = {}
    if view.tuned:
        texts["best_settings.csv"] = best_csv(view.best)
        texts["best_settings.md"] = best_markdown(view.best, campaign)
        texts["best_settings.tex"] = best_latex(view.best, campaign)
    if view.compared:
        texts["method_gains.csv"] = frame_csv(view.gains)
    if view.many:
        texts |= many_texts(view.many, campaign)
    texts["claims.csv"] = claims_csv(view.claims)
    texts["claims.md"] = claims_markdown(view.claims, campaign)
    return texts


def _write(path: Path, content: str | bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise KdoptError(
            f"{path}: the report cannot be written ({reason}). "
            "Free the space, mend the permissions, or name another folder."
        ) from error
    return path
