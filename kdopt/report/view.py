"""What the page shows, as plain values: sentences, small tables and the data of the figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from kdopt.analysis.cells import Pair
from kdopt.analysis.claims import judged
from kdopt.analysis.contrast import CAVEAT, RULE
from kdopt.analysis.evidence import Claim, gather
from kdopt.analysis.maps import Surface, best_settings, surfaces
from kdopt.analysis.progress import Failure, Progress, failures, has_stage, progress
from kdopt.analysis.summary import OVERALL, measures, selection_label, summary
from kdopt.outcome import TrialRow
from kdopt.plan import Campaign, StageName
from kdopt.report.blocks import Block, SortCell, sort_key, title_of
from kdopt.report.figures import alpha_map, gain_map, temperature_map
from kdopt.report.many_view import ManyTeachers, many_blocks, many_teachers
from kdopt.report.method_view import method_blocks, noise_block
from kdopt.report.tables import columns, points, with_labels

FAILURES_SHOWN = 50


class Headline(NamedTuple):
    """One headline number: ``low`` and ``high`` bound its 95 % interval (empty: no interval)."""

    value: str
    low: str
    high: str
    n: int


class Section(NamedTuple):
    """One partition: its figures (element id to title) and its table of pairs."""

    name: str
    title: str
    figures: dict[str, str]
    headings: list[str]
    lines: list[list[SortCell]]


class View(NamedTuple):
    """Everything the template needs, apart from the settings.

    Attributes that are not their own explanation: ``tuned`` says whether the campaign has or
    will have tuning to show, ``paired`` the same of any stage with pairs of teacher and student,
    ``compared`` whether any trial of the comparison is complete, ``many`` holds the tables of the
    stages in which many participants take part (``None`` if the campaign has neither).
    """

    lead: str
    best: pd.DataFrame
    gains: pd.DataFrame
    tuned: bool
    paired: bool
    compared: bool
    claims: list[Claim]
    rule: str
    caveat: str
    blocks: list[Block]
    many: ManyTeachers | None
    many_blocks: list[Block]
    headings: list[str]
    headlines: dict[str, list[Headline]]
    progress: list[Progress]
    failures: list[Failure]
    failures_left_out: int
    environment: list[str]
    sections: list[Section]
    pairs: dict[str, list[Pair]]
    payload: dict[str, Any]


def make_view(campaign: Campaign, rows: Sequence[TrialRow]) -> View:
    """All that the page of a campaign shows."""
    best = best_settings(rows, campaign)
    tuned = shows(campaign, rows, "tune")
    evidence = gather(rows, campaign)
    blocks, section_figures = method_blocks(evidence, rows)
    paired = tuned or shows(campaign, rows, "compare")
    many: ManyTeachers | None = None
    more_blocks: list[Block] = []
    if shows(campaign, rows, "combine") or shows(campaign, rows, "federate"):
        many = many_teachers(rows, campaign)
        more_blocks, more_figures = many_blocks(many, campaign)
        section_figures |= more_figures
        if not paired:
            more_blocks.append(noise_block(evidence))
    if not tuned:
        # Every pair would be listed as undecided, as if somebody had planned to decide it.
        best = best.iloc[:0]
    names = [str(name) for name in best["partition"].unique()]
    sections: list[Section] = []
    figures: dict[str, Any] = {}
    for index, name in enumerate(names):
        table = best[best["partition"] == name]
        drawn = {
            "alpha": ("Best alpha against the accuracy gap", alpha_map(table, campaign)),
            "temperature": (
                "Best temperature against the accuracy gap",
                temperature_map(table, campaign),
            ),
            "gain": ("Gain against the accuracy gap", gain_map(table, campaign)),
        }
        # Element ids come from positions: names in a spec are not ours to trust.
        ids = {f"figure-{index}-{key}": title for key, (title, _) in drawn.items()}
        figures |= {f"figure-{index}-{key}": figure for key, (_, figure) in drawn.items()}
        headings = [column.heading for column in columns(table)]
        sections.append(Section(name, title_of(name), ids, headings, _lines(table)))
    failed = failures(rows)
    grouped = {title_of(n): [p for p in _pairs(best) if p.partition == n] for n in names}
    return View(
        lead=lead(campaign, rows),
        best=best,
        gains=evidence.gains,
        tuned=tuned,
        paired=paired,
        compared=bool((evidence.gains["source"] == "compare").any()),
        claims=judged(evidence),
        rule=RULE,
        caveat=CAVEAT,
        blocks=blocks,
        many=many,
        many_blocks=more_blocks,
        headings=[f"{m.label} ({m.unit})" for m in measures(campaign)],
        headlines=headlines(best, campaign) if tuned else {},
        progress=progress(rows, campaign),
        failures=failed[:FAILURES_SHOWN],
        failures_left_out=max(0, len(failed) - FAILURES_SHOWN),
        environment=environment(rows),
        sections=sections,
        pairs=grouped,
        payload={
            "figures": section_figures | figures,
            "surfaces": _surfaces(best, surfaces(rows, campaign)) if tuned else {},
            "vanilla": [campaign.tune.vanilla_temperature, campaign.tune.vanilla_alpha],
            "selection": selection_label(campaign),
        },
    )


def shows(campaign: Campaign, rows: Sequence[TrialRow], stage: StageName) -> bool:
    """Whether the campaign has or will have anything of a stage to show."""
    return stage in campaign.stages or has_stage(rows, stage)


def lead(campaign: Campaign, rows: Sequence[TrialRow]) -> str:
    """What the campaign is about, in a sentence or two."""
    sentences = []
    if shows(campaign, rows, "tune"):
        sentences.append(
            "Best distillation temperature and alpha of every teacher-student pair, "
            f"{selection_label(campaign)}."
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


def headlines(best: pd.DataFrame, campaign: Campaign) -> dict[str, list[Headline]]:
    """The summary as text, by scope (first all partitions), in the order of the measures."""
    table: dict[str, list[Headline]] = {}
    for line in summary(best, campaign).to_dict("records"):
        decimals = 2 if line["unit"] == "pp" else 0
        value, low, high = (_number(line[key], decimals) for key in ("value", "low", "high"))
        scope = str(line["partition"])
        scope = scope.capitalize() if scope == OVERALL else title_of(scope)
        table.setdefault(scope, []).append(Headline(value, low, high, int(line["n"])))
    return table


def environment(rows: Sequence[TrialRow]) -> list[str]:
    """Where the trials ran: devices, precisions, versions and training time, one line each."""
    outcomes = [row.outcome for row in rows if row.outcome]
    if not outcomes:
        return []
    hours = math.fsum(outcome.seconds for outcome in outcomes) / 3600
    ran_on = sorted({f"{o.device} ({o.precision})" for o in outcomes})
    versions = sorted({f"{key} {value}" for o in outcomes for key, value in o.versions.items()})
    lines = [
        f"Ran on: {', '.join(ran_on)}",
        f"Training time, summed over {len(outcomes)} complete trials: {hours:.2f} h",
    ]
    return [*lines, f"Versions: {', '.join(versions)}"] if versions else lines


def _number(value: float, decimals: int) -> str:
    return "" if math.isnan(value) else f"{round(value, decimals) + 0.0:.{decimals}f}"


def _lines(table: pd.DataFrame) -> list[list[SortCell]]:
    return [
        [
            SortCell(column.text(line[column.key]), sort_key(line[column.key]))
            for column in columns(table)
        ]
        for line in with_labels(table).to_dict("records")
    ]


def _pairs(best: pd.DataFrame) -> list[Pair]:
    columns_ = zip(best["partition"], best["teacher"], best["student"], strict=True)
    return [Pair(str(p), int(t), int(s)) for p, t, s in columns_]


def _surfaces(best: pd.DataFrame, known: dict[Pair, Surface]) -> dict[str, Any]:
    data = {}
    for pair, line in zip(_pairs(best), best.to_dict("records"), strict=True):
        surface = known[pair]
        grid = bool(surface.temperatures)
        cells = [
            [c.temperature, c.alpha, _gain(c.validation_gain), _gain(c.test_gain)]
            for c in surface.points
        ]
        data[f"{pair.partition}/{pair.label}"] = {
            "temperatures": surface.temperatures,
            "alphas": surface.alphas,
            "validation": [[_gain(v) for v in line_] for line_ in surface.validation_gain],
            "test": [[_gain(v) for v in line_] for line_ in surface.test_gain],
            "points": [] if grid else cells,
            "selected": _cell(line["temperature"], line["alpha"]),
            "oracle": _cell(line["oracle_temperature"], line["oracle_alpha"]),
            "advice": line["advice"],
            "gains": [points(line[key]) for key in ("test_gain", "vanilla_gain", "oracle_gain")],
        }
    return data


def _gain(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _cell(temperature: float, alpha: float) -> list[float] | None:
    return None if math.isnan(temperature) else [temperature, alpha]
