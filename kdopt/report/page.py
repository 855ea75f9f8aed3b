"""One self-contained HTML page of a campaign.

The page makes no request: plotly.js is part of it, and its content security policy forbids
loading anything, so it reads the same offline, from a mail or from an archive.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from kdopt.analysis.tuning import describe_selection
from kdopt.campaign.federated_algorithms import FEDAVG
from kdopt.report.blocks import PageFigure, ReportData, Section
from kdopt.report.format import explain_draws, format_algorithm, format_frame
from kdopt.report.glossary import find_terms
from kdopt.report.sections.advice import make_advice_section
from kdopt.report.sections.best_settings import make_maps_section, make_tuned_section
from kdopt.report.sections.claims import make_claims_section
from kdopt.report.sections.headline import make_headline_section
from kdopt.report.sections.many_teachers import make_many_section
from kdopt.report.sections.methods import make_methods_section
from kdopt.report.sections.pairs import make_pairs_section
from kdopt.report.sections.run import make_run_section

SECTIONS: Sequence[Callable[[ReportData], Section | None]] = (
    make_headline_section,
    make_pairs_section,
    make_maps_section,
    make_tuned_section,
    make_methods_section,
    make_many_section,
    make_advice_section,
    make_run_section,
    make_claims_section,
)
"""What the page shows, in order. A new section is one module and one line here."""

PACKED_FROM = 6_000_000
"""Bytes of JSON from which a page packs its data; the paper's campaign has half of that."""

JSON_STYLE: dict[str, Any] = {"allow_nan": False, "separators": (",", ":")}


def make_sections(data: ReportData) -> list[Section]:
    """All sections that a campaign has."""
    return [section for make in SECTIONS if (section := make(data)) is not None]


def list_figures(sections: Iterable[Section]) -> list[PageFigure]:
    """All figures of some sections, in order."""
    return [figure for section in sections for figure in section.list_figures()]


def render_page(data: ReportData, sections: Sequence[Section]) -> str:
    """The HTML page; everything that comes from a spec or a trial is escaped.

    Args:
        data: What the sections were made from.
        sections: Those to show, in order.
    """
    name = data.campaign.name
    return render_sections(name, describe_campaign(data), sections, make_payload(name, sections))


def render_sections(
    name: str, lead: str, sections: Sequence[Section], payload: Mapping[str, Any]
) -> str:
    """An HTML page of any sections.

    Args:
        name: Its heading.
        lead: What it is about, in a sentence or two.
        sections: Those to show, in order.
        payload: What the page's scripts read, see :func:`make_payload`.
    """
    environment = Environment(
        loader=PackageLoader("kdopt.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # NaN is not JSON: it must fail here, not in the reader's browser.
    environment.policies["json.dumps_kwargs"] = JSON_STYLE
    body = environment.get_template("sections.html.j2").render(sections=sections)
    page = environment.get_template("page.html.j2").render(
        name=name,
        lead=lead,
        sections=sections,
        body=Markup(body),  # noqa: S704 - escaped where it was made
        words=find_terms(body, json.dumps(payload["figures"], **JSON_STYLE)),
        payload=payload,
        packed=pack_payload(payload),
        plotly_js=Markup(read_plotly_js()),  # noqa: S704 - plotly's own source, no input of ours
    )
    return page.rstrip("\n") + "\n"


def make_payload(name: str, sections: Sequence[Section]) -> dict[str, Any]:
    """What the page's scripts read: figures with their numbers, and the data of the sections."""
    figures = list_figures(sections)
    sheets = {id(figure.data): figure for figure in figures}  # figures of one table share its text
    places = {key: place for place, key in enumerate(sheets)}
    payload: dict[str, Any] = {
        "figures": {figure.id: figure.figure for figure in figures},
        "files": {figure.id: [figure.name, places[id(figure.data)]] for figure in figures},
        "sheets": [format_frame(figure.data, figure.short) for figure in sheets.values()],
    }
    for section in sections:
        payload |= section.data
    return payload | {"campaign": name}


def pack_payload(payload: Mapping[str, Any]) -> str:
    """The payload as gzipped JSON in base64 where it is large; else an empty text.

    At ten times the paper's size that is a sixth of it.
    """
    content = json.dumps(payload, **JSON_STYLE).encode()
    if len(content) < PACKED_FROM:
        return ""
    # Without a time, so that the same campaign gives the same page.
    return base64.b64encode(gzip.compress(content, compresslevel=6, mtime=0)).decode()


@cache
def read_plotly_js() -> str:
    """Plotly's own bundle of cartesian charts.

    A third of the whole plotly.js that the Python package has, so that pages are 3 MB smaller and
    open a second earlier. Its header says which version it is: a test wants that of the installed
    package's plotly.js, to its first number (from npm, ``plotly.js-cartesian-dist-min``).
    """
    bundle = files("kdopt.report") / "vendor" / "plotly-cartesian.min.js"
    return bundle.read_text(encoding="utf-8").strip()


def describe_campaign(data: ReportData) -> str:
    """What the campaign is about, in a sentence or two."""
    sentences = []
    if data.shows_stage("tune"):
        sentences.append(
            "Best distillation temperature and alpha of every teacher-student pair, "
            f"{describe_selection(data.campaign)}."
        )
    elif data.shows_stage("compare"):
        sentences.append("Distillation methods compared for every teacher-student pair.")
    if data.shows_stage("combine"):
        sentences.append("All participants of a partition distilled into one model.")
    if data.shows_stage("federate"):
        starts = {"random": "random weights", "consolidated": "the participants distilled into one"}
        settings = data.campaign.federate
        used = [text for name, text in starts.items() if name in settings.initial_models]
        if FEDAVG in settings.algorithms:
            sentences.append(f"Federated averaging from {', and from '.join(used)}.")
        others = [format_algorithm(name) for name in settings.algorithms if name != FEDAVG]
        if others:
            sentences.append(f"Federated rounds of {', '.join(others)}.")
    sentences = sentences or ["Participants trained on their own data."]
    return " ".join([*sentences, explain_draws(p.name for p in data.campaign.partitions)]).strip()
