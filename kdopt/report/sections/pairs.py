"""Pairs: all of them in one table, and all about one pair, drawn when it is chosen.

What is drawn travels as bare numbers: hundreds of ready figures would make the page slow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from kdopt.analysis.best_settings import Surface
from kdopt.analysis.method_gains import ClassScores
from kdopt.analysis.results import list_pairs, read_number, read_point
from kdopt.analysis.tuning import describe_selection
from kdopt.analysis.verdicts import list_candidates
from kdopt.campaign.settings import Campaign
from kdopt.outcome import TrialRow
from kdopt.report.blocks import Block, ReportData, Section, Table, make_tables
from kdopt.report.format import format_frame, name_classes, title_partitions
from kdopt.report.plotting import get_method_style
from kdopt.report.sections.best_settings import list_columns
from kdopt.report.sections.verdicts import (
    METHOD_NOTE,
    VERDICT_NOTE,
    make_counts_grid,
    make_pair_key,
    make_verdict_tables,
)
from kdopt.report.setting_maps import add_labels
from kdopt.report.tried import TriedNames, collect_tried
from kdopt.report.verdict_text import (
    describe_advice,
    describe_effect,
    describe_tuning,
    describe_verdict,
    give_reason,
)


def make_pairs_section(data: ReportData) -> Section | None:
    """The section on single pairs, and what the page draws of each; none without pairs."""
    drawn = collect_pair_data(data)
    if not data.has_pairs and not drawn["pairs"]:
        return None
    verdicts = data.tables.verdicts
    decided = verdicts[verdicts["action"] != "undecided"]
    values = {
        "grids": [make_counts_grid(decided)] if len(decided) else [],
        "verdicts": make_verdict_tables(data),
        "decided": len(decided),
        "method_note": METHOD_NOTE,
        "options": list_pair_options(
            {key: pair.get("who", "") for key, pair in drawn["pairs"].items()}, data.campaign
        ),
        "best": make_best_tables(data.best_settings),
    }
    files = (
        {"verdicts.csv": format_frame(verdicts, ("temperature", "alpha"))} if len(decided) else {}
    )
    blocks = [Block(template="pairs.html.j2", values=values)]
    return Section(
        "pairs", "What to do with each pair", VERDICT_NOTE, blocks, "Pairs", files, drawn
    )


def make_best_tables(best: pd.DataFrame) -> list[Table]:
    """The best settings of all pairs, with and without a look at the test set."""
    title = f"Best settings of {len(best)} pairs"
    # The table above has gains of verdicts: these are of the best cell, whatever the verdict is.
    of_cell = dict.fromkeys(("validation_gain", "test_gain", "net_gain"), " of tuned KD (pp)")
    named = of_cell | {"control_gain": " on own data (pp)", "vanilla_gain": " on own data (pp)"}
    columns = [
        column._replace(heading=column.heading.replace(" (pp)", named[column.key]))
        if column.key in named
        else column
        for column in list_columns(best)
    ]
    shown = best.assign(advice=[describe_advice(line) for line in best.to_dict("records")])
    return make_tables(title, ["partition", *columns], add_labels(shown))


def collect_pair_data(data: ReportData) -> dict[str, Any]:
    """What the page draws of each pair that has anything to draw.

    Returns:
        ``pairs``: by key (:func:`~kdopt.report.sections.verdicts.make_pair_key`) the verdict,
        what was tried, the surface, the history and the class accuracies; ``grid``: what of a
        surface the pairs have in common and so leave out; ``classes``: names in class order;
        ``methods``: label and colour by method; ``vanilla``: its temperature and alpha;
        ``selection``: how settings were selected; ``tried``: names that ``tried`` of a pair
        counts from 0.
    """
    tables, campaign, best = data.tables, data.campaign, data.best_settings
    scores = tables.class_scores
    found: dict[str, dict[str, Any]] = {}
    for pair, line in zip(list_pairs(best), best.to_dict("records"), strict=True):
        found[make_pair_key(pair)] = {
            **_collect_surface(tables.surfaces[pair], line),
            "history": _collect_history(tables.results.tuned.get(pair, [])),
        }
    for pair, of_pair in scores.items():
        found.setdefault(make_pair_key(pair), {})["scores"] = _collect_scores(of_pair)
    verdicts, names = tables.verdicts, TriedNames({}, {})
    searched = dict(zip(list_pairs(best), best.to_dict("records"), strict=True))
    for pair, line in zip(list_pairs(verdicts), verdicts.to_dict("records"), strict=True):
        if (shown := found.get(make_pair_key(pair))) is not None:
            shown["verdict"] = describe_verdict(line)
            shown["effect"] = f"{give_reason(line)} {describe_effect(line)}".strip()
            if pair in searched:
                shown["tuning"] = describe_tuning(searched[pair], line, campaign)
            shown |= collect_tried(line, list_candidates(pair, tables.results), names)
            if who := campaign.describe_pair(pair.teacher, pair.student):
                shown["who"] = who
    n_classes = max((len(s.before) for s in scores.values()), default=0)
    styles = {m: get_method_style(m) for s in scores.values() for m in s.after}
    # Once, not in every pair: pairs whose grid is another keep their own.
    grid: dict[str, Any] = {"points": []}
    for key in ("temperatures", "alphas"):
        grid[key] = next((pair[key] for pair in found.values() if key in pair), [])
    for pair_data in found.values():
        for key, value in grid.items():
            if pair_data.get(key) == value:
                del pair_data[key]
    return {
        "grid": grid,
        "pairs": found,
        "classes": name_classes(campaign.data, n_classes, data.class_names),
        "methods": {method: [style.label, style.colour] for method, style in styles.items()},
        "vanilla": list(campaign.tune.vanilla_point),
        "selection": describe_selection(campaign),
        "tried": {"methods": list(names.methods), "sets": list(names.sets)},
    }


def list_pair_options(
    pairs: Mapping[str, str], campaign: Campaign
) -> dict[str, list[tuple[str, str]]]:
    """Keys and labels of pairs to choose from, by the title of their partition.

    Args:
        pairs: By key, who teaches whom by name; empty where they have no names.
        campaign: The campaign.
    """
    order = [p.name for p in campaign.partitions]
    split = [(*key.rpartition("/")[::2], key) for key in pairs]
    known = sorted(split, key=lambda x: (order.index(x[0]) if x[0] in order else len(order), *x))
    options: dict[str, list[tuple[str, str]]] = {}
    titles = title_partitions([*order, *(partition for partition, _, _ in known)])
    for partition, label, key in known:
        shown = f"{label} ({pairs[key]})" if pairs[key] else label
        options.setdefault(titles[partition], []).append((key, shown))
    return options


def _collect_surface(surface: Surface, line: Mapping[Any, Any]) -> dict[str, Any]:
    grid = bool(surface.temperatures)
    cells = [
        [c.temperature, c.alpha, _round_gain(c.validation_gain), _round_gain(c.test_gain)]
        for c in surface.points
    ]
    return {
        "temperatures": surface.temperatures,
        "alphas": surface.alphas,
        "validation": [[_round_gain(v) for v in row] for row in surface.validation_gain],
        "test": [[_round_gain(v) for v in row] for row in surface.test_gain],
        "points": [] if grid else cells,
        "selected": _make_point(line["temperature"], line["alpha"]),
        "oracle": _make_point(line["oracle_temperature"], line["oracle_alpha"]),
    }


def _collect_history(rows: Iterable[TrialRow]) -> list[list[Any]]:
    """Number, temperature, alpha, validation and test gain of each finished trial, in order."""
    found = []
    for row in sorted(rows, key=lambda row: row.number):
        cell = read_point(row)
        if row.state in ("COMPLETE", "FAIL") and cell is not None:
            gains = (
                (read_number(row.outcome.validation_gain), read_number(row.outcome.test_gain))
                if row.outcome
                else (math.nan, math.nan)
            )
            found.append([row.number, *cell, *map(_round_gain, gains)])
    return found


def _collect_scores(scores: ClassScores) -> dict[str, Any]:
    """Class accuracies in percent; the page shows tenths."""

    def round_scores(values: Iterable[float | None]) -> list[float | None]:
        return [None if v is None else round(v, 2) for v in values]

    after = {method: round_scores(values) for method, values in scores.after.items()}
    return {"before": round_scores(scores.before), "after": after}


def _round_gain(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else round(value, 3) + 0.0


def _make_point(temperature: float, alpha: float) -> list[float] | None:
    return None if math.isnan(temperature) else [temperature, alpha]
