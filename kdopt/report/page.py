"""One self-contained HTML page of a campaign.

The page makes no request: plotly.js is part of it, and its content security policy forbids
loading anything, so it reads the same offline, from a mail or from an archive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from kdopt.analysis.paper.claims import judge_claims
from kdopt.analysis.paper.judging import CAVEAT, RULE, Claim
from kdopt.analysis.progress import FailedTrial, StageProgress
from kdopt.analysis.tables import compute_tables
from kdopt.analysis.tuning import describe_selection
from kdopt.campaign.names import StageName
from kdopt.campaign.record import SettingLine
from kdopt.campaign.settings import Campaign
from kdopt.features.measurements import PartitionMeasurements
from kdopt.outcome import TrialRow
from kdopt.report.blocks import Block, Grid, PageFigure, Section, Table
from kdopt.report.format import format_frame, format_points
from kdopt.report.sections.best_settings import make_maps_section
from kdopt.report.sections.headline import (
    HeadlineNumber,
    Tile,
    describe_where_not,
    list_headline_headings,
    make_tiles,
    make_where_grid,
    make_where_tables,
    tabulate_headlines,
)
from kdopt.report.sections.many_teachers import (
    ManyTeachers,
    collect_many_teachers,
    make_many_section,
)
from kdopt.report.sections.methods import make_methods_section
from kdopt.report.sections.pairs import collect_pair_data, list_pair_options, make_pairs_tables
from kdopt.report.sections.run import list_facts, make_cost_block, make_participants_block

FAILURES_SHOWN = 50


class View(NamedTuple):
    """Everything the template needs, apart from the settings.

    Attributes that are not their own explanation: ``tuned`` says whether the campaign has or
    will have tuning to show, ``paired`` the same of any stage with pairs of teacher and student,
    ``compared`` whether any trial of the comparison is complete, ``many`` holds the tables of the
    stages in which many participants take part (``None`` if the campaign has neither). ``parts``
    are the sections between what was run and the claims, ``drawn`` all figures by element id.
    """

    lead: str
    tuned: bool
    paired: bool
    compared: bool
    best: pd.DataFrame
    gains: pd.DataFrame
    many: ManyTeachers | None
    tiles: list[Tile]
    where_not: str
    where_grid: list[Grid]
    where_table: list[Table]
    headings: list[str]
    headlines: dict[str, list[HeadlineNumber]]
    facts: dict[str, str]
    progress: list[StageProgress]
    failures: list[FailedTrial]
    failures_left_out: int
    run_blocks: list[Block]
    parts: list[Section]
    claims: list[Claim]
    rule: str
    caveat: str
    pairs: list[Table]
    options: dict[str, list[tuple[str, str]]]
    drawn: dict[str, PageFigure]
    payload: dict[str, Any]


def make_view(
    campaign: Campaign,
    rows: Sequence[TrialRow],
    measurements: Mapping[str, PartitionMeasurements] | None = None,
    more: Sequence[Section] = (),
) -> View:
    """All that the page of a campaign shows.

    Args:
        campaign: What was run.
        rows: Its trials, in any state and order.
        measurements: What was measured of its partitions.
        more: Further sections, shown before the claims.
    """
    tuned = shows_stage(campaign, rows, "tune")
    paired = tuned or shows_stage(campaign, rows, "compare")
    evidence = compute_tables(rows, campaign)
    best = evidence.best_settings
    if not tuned:
        # Every pair would be listed as undecided, as if somebody had planned to decide it.
        best = best.iloc[:0]
    many: ManyTeachers | None = None
    if shows_stage(campaign, rows, "combine") or shows_stage(campaign, rows, "federate"):
        many = collect_many_teachers(evidence)
    parts = [
        make_maps_section(best, campaign, tuned=tuned),
        make_methods_section(evidence, paired=paired),
        make_many_section(many, campaign, evidence, paired=paired),
        *more,
    ]
    participants, drawn_sizes = make_participants_block(campaign, rows, measurements or {})
    drawn = {**drawn_sizes, **{key: d for part in parts for key, d in part.drawn.items()}}
    cost, found, failed = evidence.costs, evidence.payoff, evidence.failures
    pairs = collect_pair_data(evidence, best, tuned=tuned)
    return View(
        lead=describe_campaign(campaign, rows),
        tuned=tuned,
        paired=paired,
        compared=bool((evidence.method_gains["source"] == "compare").any()),
        best=best,
        gains=evidence.method_gains,
        many=many,
        tiles=make_tiles(found, cost, best, campaign),
        where_not=describe_where_not(found),
        where_grid=make_where_grid(found),
        where_table=make_where_tables(found),
        headings=list_headline_headings(campaign),
        headlines=tabulate_headlines(best, campaign) if tuned else {},
        facts=list_facts(campaign, rows, cost),
        progress=evidence.progress,
        failures=failed[:FAILURES_SHOWN],
        failures_left_out=max(0, len(failed) - FAILURES_SHOWN),
        run_blocks=[participants, make_cost_block(cost)],
        parts=parts,
        claims=judge_claims(evidence),
        rule=RULE,
        caveat=CAVEAT,
        pairs=make_pairs_tables(best),
        options=list_pair_options(pairs["pairs"], campaign),
        drawn=drawn,
        payload={
            **_collect_figures(drawn),
            **pairs,
            "campaign": campaign.name,
            "vanilla": list(campaign.tune.vanilla_point),
            "selection": describe_selection(campaign),
        },
    )


def shows_stage(campaign: Campaign, rows: Sequence[TrialRow], stage: StageName) -> bool:
    """Whether the campaign has or will have anything of a stage to show."""
    return stage in campaign.stages or any(row.stage == stage for row in rows)


def describe_campaign(campaign: Campaign, rows: Sequence[TrialRow]) -> str:
    """What the campaign is about, in a sentence or two."""
    sentences = []
    if shows_stage(campaign, rows, "tune"):
        sentences.append(
            "Best distillation temperature and alpha of every teacher-student pair, "
            f"{describe_selection(campaign)}."
        )
    elif shows_stage(campaign, rows, "compare"):
        sentences.append("Distillation methods compared for every teacher-student pair.")
    if shows_stage(campaign, rows, "combine"):
        sentences.append("All participants of a partition distilled into one model.")
    if shows_stage(campaign, rows, "federate"):
        starts = {
            "random": "random weights",
            "consolidated": "the participants distilled into one",
        }
        used = [text for name, text in starts.items() if name in campaign.federate.initial_models]
        sentences.append(f"Federated averaging from {', and from '.join(used)}.")
    return " ".join(sentences) or "Participants trained on their own data."


def _collect_figures(drawn: Mapping[str, PageFigure]) -> dict[str, Any]:
    """Figures, their file names and their data; figures of one table share its text."""
    sheets: dict[int, int] = {}
    texts: list[str] = []
    for item in drawn.values():
        if id(item.data) not in sheets:
            sheets[id(item.data)] = len(texts)
            texts.append(format_frame(item.data, item.short))
    return {
        "figures": {key: item.figure for key, item in drawn.items()},
        "files": {key: [item.name, sheets[id(item.data)]] for key, item in drawn.items()},
        "sheets": texts,
    }


@cache
def read_plotly_js() -> str:
    """Plotly's own bundle of cartesian charts.

    A third of the whole plotly.js that the Python package has, so that pages are 3 MB smaller and
    open a second earlier. Its header says which version it is: a test wants that of the installed
    package's plotly.js, to its first number (from npm, ``plotly.js-cartesian-dist-min``).
    """
    bundle = files("kdopt.report") / "vendor" / "plotly-cartesian.min.js"
    return bundle.read_text(encoding="utf-8").strip()


def render_page(campaign: Campaign, view: View, settings_lines: Sequence[SettingLine]) -> str:
    """The HTML page; everything that comes from a spec or a trial is escaped.

    Args:
        campaign: What was run.
        view: What is shown of it.
        settings_lines: Its resolved settings with the source of each, shown as they are.
    """
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
        points=format_points,
        plotly_js=Markup(read_plotly_js()),  # noqa: S704 - plotly's own source, no input of ours
    )
    return page.rstrip("\n") + "\n"
