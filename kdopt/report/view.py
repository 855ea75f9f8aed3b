"""What the page shows, as plain values: sentences, small tables and the data of the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from kdopt.analysis.paper.claims import judge_claims
from kdopt.analysis.paper.judging import CAVEAT, RULE, Claim
from kdopt.analysis.progress import FailedTrial, StageProgress
from kdopt.analysis.tables import compute_tables
from kdopt.analysis.tuning import describe_selection
from kdopt.campaign.names import StageName
from kdopt.campaign.settings import Campaign
from kdopt.features.measurements import PartitionMeasurements
from kdopt.outcome import TrialRow
from kdopt.report.blocks import Block, Drawn, Grid, Part, Table
from kdopt.report.headline_view import (
    Headline,
    Tile,
    headline_headings,
    headlines,
    tiles,
    where_grid,
    where_not,
    where_table,
)
from kdopt.report.many_view import ManyTeachers, many_part, many_teachers
from kdopt.report.maps_view import maps_part
from kdopt.report.method_view import methods_part
from kdopt.report.pair_view import pair_data, pair_options, pairs_table
from kdopt.report.run_view import cost_block, facts_of, participants_block
from kdopt.report.tables import frame_csv

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
    headlines: dict[str, list[Headline]]
    facts: dict[str, str]
    progress: list[StageProgress]
    failures: list[FailedTrial]
    failures_left_out: int
    run_blocks: list[Block]
    parts: list[Part]
    claims: list[Claim]
    rule: str
    caveat: str
    pairs: list[Table]
    options: dict[str, list[tuple[str, str]]]
    drawn: dict[str, Drawn]
    payload: dict[str, Any]


def make_view(
    campaign: Campaign,
    rows: Sequence[TrialRow],
    measurements: Mapping[str, PartitionMeasurements] | None = None,
    more: Sequence[Part] = (),
) -> View:
    """All that the page of a campaign shows.

    Args:
        campaign: What was run.
        rows: Its trials, in any state and order.
        measurements: What was measured of its partitions.
        more: Further sections, shown before the claims.
    """
    tuned = shows(campaign, rows, "tune")
    paired = tuned or shows(campaign, rows, "compare")
    evidence = compute_tables(rows, campaign)
    best = evidence.best_settings
    if not tuned:
        # Every pair would be listed as undecided, as if somebody had planned to decide it.
        best = best.iloc[:0]
    many: ManyTeachers | None = None
    if shows(campaign, rows, "combine") or shows(campaign, rows, "federate"):
        many = many_teachers(rows, campaign)
    parts = [
        maps_part(best, campaign, tuned=tuned),
        methods_part(evidence, paired=paired),
        many_part(many, campaign, evidence, paired=paired),
        *more,
    ]
    participants, drawn_sizes = participants_block(campaign, rows, measurements or {})
    drawn = {**drawn_sizes, **{key: d for part in parts for key, d in part.drawn.items()}}
    cost, found, failed = evidence.costs, evidence.payoff, evidence.failures
    pairs = pair_data(evidence, best, tuned=tuned)
    return View(
        lead=lead(campaign, rows),
        tuned=tuned,
        paired=paired,
        compared=bool((evidence.method_gains["source"] == "compare").any()),
        best=best,
        gains=evidence.method_gains,
        many=many,
        tiles=tiles(found, cost, best, campaign),
        where_not=where_not(found),
        where_grid=where_grid(found),
        where_table=where_table(found),
        headings=headline_headings(campaign),
        headlines=headlines(best, campaign) if tuned else {},
        facts=facts_of(campaign, rows, cost),
        progress=evidence.progress,
        failures=failed[:FAILURES_SHOWN],
        failures_left_out=max(0, len(failed) - FAILURES_SHOWN),
        run_blocks=[participants, cost_block(cost)],
        parts=parts,
        claims=judge_claims(evidence),
        rule=RULE,
        caveat=CAVEAT,
        pairs=pairs_table(best),
        options=pair_options(pairs["pairs"], campaign),
        drawn=drawn,
        payload={
            **_figures(drawn),
            **pairs,
            "campaign": campaign.name,
            "vanilla": list(campaign.tune.vanilla_point),
            "selection": describe_selection(campaign),
        },
    )


def shows(campaign: Campaign, rows: Sequence[TrialRow], stage: StageName) -> bool:
    """Whether the campaign has or will have anything of a stage to show."""
    return stage in campaign.stages or any(row.stage == stage for row in rows)


def lead(campaign: Campaign, rows: Sequence[TrialRow]) -> str:
    """What the campaign is about, in a sentence or two."""
    sentences = []
    if shows(campaign, rows, "tune"):
        sentences.append(
            "Best distillation temperature and alpha of every teacher-student pair, "
            f"{describe_selection(campaign)}."
        )
    elif shows(campaign, rows, "compare"):
        sentences.append("Distillation methods compared for every teacher-student pair.")
    if shows(campaign, rows, "combine"):
        sentences.append("All participants of a partition distilled into one model.")
    if shows(campaign, rows, "federate"):
        starts = {
            "random": "random weights",
            "consolidated": "the participants distilled into one",
        }
        used = [text for name, text in starts.items() if name in campaign.federate.initial_models]
        sentences.append(f"Federated averaging from {', and from '.join(used)}.")
    return " ".join(sentences) or "Participants trained on their own data."


def _figures(drawn: Mapping[str, Drawn]) -> dict[str, Any]:
    """Figures, their file names and their data; figures of one table share its text."""
    sheets: dict[int, int] = {}
    texts: list[str] = []
    for item in drawn.values():
        if id(item.data) not in sheets:
            sheets[id(item.data)] = len(texts)
            texts.append(frame_csv(item.data, item.short))
    return {
        "figures": {key: item.figure for key, item in drawn.items()},
        "files": {key: [item.name, sheets[id(item.data)]] for key, item in drawn.items()},
        "sheets": texts,
    }
