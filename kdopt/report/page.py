"""One self-contained HTML page of a campaign, and the files of a whole report.

The page makes no request: plotly.js is part of it, and its content security policy forbids
loading anything, so it reads the same offline, from a mail or from an archive.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from kdopt.analysis.summary import selection_label
from kdopt.errors import KdoptError
from kdopt.outcome import TrialRow
from kdopt.plan import Campaign, SettingLine
from kdopt.report.many_tables import many_texts
from kdopt.report.method_tables import claims_csv, claims_markdown
from kdopt.report.tables import best_csv, best_latex, best_markdown, frame_csv, points, trials_csv
from kdopt.report.view import View, make_view


def render_page(
    campaign: Campaign, rows: Sequence[TrialRow], settings_lines: Sequence[SettingLine]
) -> str:
    """The HTML page; everything that comes from a spec or a trial is escaped.

    Args:
        campaign: What was run.
        rows: Its trials, in any state and order.
        settings_lines: Its resolved settings with the source of each, shown as they are.
    """
    return _render(campaign, make_view(campaign, rows), settings_lines)


def write_report(
    out_dir: Path,
    campaign: Campaign,
    rows: Sequence[TrialRow],
    settings_lines: Sequence[SettingLine],
) -> list[Path]:
    """Write the tables that the campaign has data for, ``trials.csv`` and ``report.html``.

    The tables are ``best_settings.csv/.md/.tex`` (unless the campaign has no tuning),
    ``method_gains.csv`` (if there are results of a comparison), ``combined.csv/.md/.tex``,
    ``federated_curves.csv``, ``rounds_to_target.csv`` and ``claims.csv/.md``.

    Everything is made before the first file is touched, and each file appears whole or not at
    all, so a reader never meets half a report.

    Returns:
        The files written.

    Raises:
        KdoptError: If the folder or a file cannot be written.
    """
    view = make_view(campaign, rows)
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
    texts["trials.csv"] = trials_csv(rows)
    texts["report.html"] = _render(campaign, view, settings_lines)
    return [_write(out_dir / name, text) for name, text in texts.items()]


def _render(campaign: Campaign, view: View, settings_lines: Sequence[SettingLine]) -> str:
    environment = Environment(
        loader=PackageLoader("kdopt.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # NaN is not JSON: it must fail here, not in the reader's browser.
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    page = environment.get_template("page.html.j2").render(
        campaign=campaign,
        view=view,
        settings_lines=settings_lines,
        selection=selection_label(campaign),
        points=points,
        plotly_js=Markup(get_plotlyjs()),  # noqa: S704 - plotly's own source, no input of ours
    )
    return page.rstrip("\n") + "\n"


def _write(path: Path, text: str) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(text, encoding="utf-8", newline="\n")
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
